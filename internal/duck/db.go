package duck

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// Version returns the version of the DuckDB library, like "v1.5.5".
func Version() string { return mapping.LibraryVersion() }

// Options configure an instance.
type Options struct {
	// MemoryLimit is DuckDB's memory_limit, like "2GB". Defaults to 80 % of the machine.
	MemoryLimit string
	// TempDir is where larger-than-memory operators spill. Defaults to "", which forbids spilling.
	TempDir string
	// Threads is how many threads the whole instance may use. More than one makes sums of doubles
	// depend on timing. Defaults to 1.
	Threads int
	// Locked denies SQL the file system, the network, extensions and its own settings.
	Locked bool
	// AllowedDirs are the directories that SQL may read and write although Locked. Defaults to none.
	AllowedDirs []string
}

// DB is an in-memory DuckDB instance.
type DB struct {
	h mapping.Database
	// statements counts what was run, on any connection.
	statements atomic.Int64
	functions  functionNames
}

// functionNames are the names of all functions, in lower case, after so many statements: another may make more.
type functionNames struct {
	sync.Mutex
	taken map[string]bool
	after int64
}

// Open starts an instance.
func Open(o Options) (*DB, error) {
	var config mapping.Config
	if mapping.CreateConfig(&config) == mapping.StateError {
		return nil, fmt.Errorf("configure duckdb: out of memory")
	}
	defer mapping.DestroyConfig(&config)
	settings := [][2]string{{"threads", strconv.Itoa(max(1, o.Threads))}, {"temp_directory", o.TempDir}}
	if o.MemoryLimit != "" {
		settings = append(settings, [2]string{"memory_limit", o.MemoryLimit})
	}
	for _, s := range settings {
		if mapping.SetConfig(config, s[0], s[1]) == mapping.StateError {
			return nil, fmt.Errorf("configure duckdb: setting %s refuses %q", s[0], s[1])
		}
	}
	db := &DB{}
	var msg string
	if mapping.OpenExt("", &db.h, config, &msg) == mapping.StateError {
		return nil, fmt.Errorf("open duckdb: %w", newError(msg))
	}
	if err := db.setup(o); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// setup makes the settings that every connection inherits, and locks them if asked.
func (db *DB) setup(o Options) error {
	c, err := db.Connect()
	if err != nil {
		return err
	}
	defer c.Close()
	sql := []string{
		// The results of a pipeline must not depend on the machine's zone.
		"SET GLOBAL TimeZone = 'UTC'", "SET GLOBAL Calendar = 'gregorian'",
		// Why: the ranges and null counts of tables at prepare time are built into a prepared plan, which
		// then silently returns wrong rows when the tables have changed.
		"SET GLOBAL disabled_optimizers = 'statistics_propagation'",
		// Errors carry their kind and position apart from the message.
		"SET GLOBAL errors_as_json = true",
		"SET GLOBAL autoinstall_known_extensions = false", "SET GLOBAL autoload_known_extensions = false",
		"SET GLOBAL allow_community_extensions = false",
	}
	if o.Locked {
		if len(o.AllowedDirs) > 0 {
			quoted := make([]string, len(o.AllowedDirs))
			for i, d := range o.AllowedDirs {
				quoted[i] = quote(d)
			}
			sql = append(sql, "SET GLOBAL allowed_directories = ["+strings.Join(quoted, ", ")+"]")
		}
		sql = append(sql, "SET GLOBAL enable_external_access = false", "SET GLOBAL lock_configuration = true")
	}
	for _, s := range sql {
		if err := c.Exec(context.Background(), s); err != nil {
			return fmt.Errorf("set up duckdb: %s: %w", s, err)
		}
	}
	return nil
}

// Connect opens a connection. Temporary tables are its own; settings, inputs and states are the DB's.
func (db *DB) Connect() (*Conn, error) {
	c := &Conn{db: db}
	if mapping.Connect(db.h, &c.h) == mapping.StateError {
		return nil, fmt.Errorf("connect to duckdb: the instance is closed or out of memory")
	}
	return c, nil
}

// Close ends the instance. Close its connections first.
func (db *DB) Close() error {
	mapping.Close(&db.h)
	return nil
}

// quote writes a string as a SQL literal.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
