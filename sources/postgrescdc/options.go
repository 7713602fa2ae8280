package postgrescdc

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vfs"
)

// A Table is one source: a declared relation over a table of the database.
type Table struct {
	// Name is the declared name. Required.
	Name string
	// Columns are the declared columns, Metadata for each of them its METADATA key, "" for a column of the table.
	// Metadata defaults to none.
	Columns  []vector.Field
	Metadata []string
	// Key holds the indexes of the PRIMARY KEY's columns. Defaults to none: rows are deleted by value.
	Key []int
	// Table is the table's name, with or without a schema, as in SQL. Defaults to Name.
	Table string
}

// METADATA keys.
const (
	MetaLSN    = "lsn"
	MetaCommit = "commit_timestamp"
	MetaTable  = "table"
)

// Options say which tables are captured over one slot, and where their changes are kept.
type Options struct {
	// Pipeline is whose tables they are; the slot is named after it. Required to begin a log.
	Pipeline string
	// URL is the connection string. Required but for NewReader.
	URL string
	// Slot names the replication slot. Defaults to sluice_PIPELINE_RANDOM.
	Slot string
	// Publication names an existing publication, which is only checked. Defaults to one that is made, of the
	// slot's name.
	Publication string
	// Failover has the slot synchronized to standbys, on servers that can (PostgreSQL 17). Defaults to false.
	Failover bool
	// Retention is how long changes are kept after they were acknowledged. Defaults to for ever.
	Retention time.Duration
	// Heartbeat is how often the slot of an idle database moves on. Defaults to 10 s.
	Heartbeat time.Duration
	// Bounded ends the sources with what was committed when they were opened. Defaults to false.
	Bounded bool
	// Once reads the tables as they are, without a slot, and ends. Defaults to false.
	Once bool
	// Tables are the sources. Required.
	Tables []Table
	// Dir holds the log. Required.
	Dir string
	// FS holds Dir. Defaults to the machine's.
	FS vfs.FS
	// Logger is told about lost connections and retained WAL. Defaults to slog.Default.
	Logger *slog.Logger

	segmentBytes int64         // of the log; for tests
	watchEvery   time.Duration // how often the slot and the publication are looked at; defaults to 10 s
}

func (o Options) withDefaults() Options {
	tables := make([]Table, len(o.Tables))
	for i, t := range o.Tables {
		if t.Table == "" {
			t.Table = t.Name
		}
		if t.Metadata == nil {
			t.Metadata = make([]string, len(t.Columns))
		}
		tables[i] = t
	}
	o.Tables = tables
	if o.Heartbeat == 0 {
		o.Heartbeat = 10 * time.Second
	}
	if o.watchEvery == 0 {
		o.watchEvery = 10 * time.Second
	}
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// Validate returns all that is wrong with the options without a look at the server.
func (o Options) Validate() error {
	var errs []error
	if o.Slot != "" && !slotName.MatchString(o.Slot) {
		errs = append(errs, fmt.Errorf("slot = %q is no name of a replication slot\nHint: it has up to 63 lower-case letters, digits and underscores", o.Slot))
	}
	if o.URL != "" {
		if _, err := pgx.ParseConfig(o.URL); err != nil {
			errs = append(errs, errors.New("url = a connection string that Postgres cannot read\nHint: write postgres://user@host/database, or host=… dbname=…"))
		}
	}
	if o.Retention < 0 {
		errs = append(errs, fmt.Errorf("retention = %s is negative", o.Retention))
	}
	return errors.Join(errs...)
}

// What a server may take for one thing before it counts as away.
const (
	connectTimeout = 10 * time.Second
	commandTimeout = time.Minute
)

func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
