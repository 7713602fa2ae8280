// Package savepoint keeps named copies of a pipeline at a batch, apart from retention. One is a directory and
// nothing else, so moving it to another machine is copying it:
//
//	savepoint.json   what it is of, and every other file with its size and CRC-32C; written last
//	pipeline.sql     the text
//	log/             a checkpoint log that ends with the batch: state, offsets, watermarks
//	rows/            the rows of the tables in PostgreSQL, and what belongs to them there
//	tables/          what was read of tables to look up
//	files/           what file sinks wrote
//
// Why a log and not a format of its own: the log's files are immutable, checksummed, versioned, and opened by
// code that the crash tests know. Why the rows: state does not hold them, and a pipeline that goes on in other
// tables, or goes back in its own, must start from exactly those of the batch.
//
// A directory without savepoint.json is one that was not completed. One is made under a temporary name and
// renamed, and deleted under a temporary name, so a crash leaves nothing that looks like one.
package savepoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/vfs"
)

// Format is what this program writes and the highest that it reads.
const Format = 1

const (
	indexName  = "savepoint.json"
	tempSuffix = ".tmp"
)

// Info is what savepoint.json says.
type Info struct {
	Format      int               `json:"format"`
	Name        string            `json:"name"`
	Pipeline    string            `json:"pipeline"`
	Batch       int64             `json:"batch"`
	Epoch       int64             `json:"epoch"`
	Plan        string            `json:"plan"`
	DuckDB      string            `json:"duckdb"`
	ContentHash string            `json:"content_hash"`
	Offsets     json.RawMessage   `json:"offsets"`
	Watermarks  map[string]int64  `json:"watermarks,omitempty"`
	Watermark   time.Time         `json:"watermark,omitzero"`
	CreatedAt   time.Time         `json:"created_at"`
	Version     string            `json:"sluice_version"`
	File        string            `json:"file"`
	BaseDir     string            `json:"base_dir"`
	Settings    map[string]string `json:"settings,omitempty"`
	Files       []File            `json:"files"`
}

// Bytes is what all its files take.
func (i *Info) Bytes() (n int64) {
	for _, f := range i.Files {
		n += f.Bytes
	}
	return n
}

// File is a file of a savepoint; Path is relative to its directory, with slashes.
type File struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	CRC32C uint32 `json:"crc32c"`
}

// A DamagedError says that a savepoint cannot be used.
type DamagedError struct{ Path, Reason string }

func (e *DamagedError) Error() string {
	return fmt.Sprintf("savepoint is damaged: %s: %s\nHint: copy it again from where it came, or use another; sluice savepoint ls lists them", e.Path, e.Reason)
}

// ErrExists marks the creation of a savepoint whose name is taken.
var ErrExists = errors.New("there is a savepoint of that name")

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	validName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
)

// CheckName refuses what cannot be a directory's name and a word on a command line at once.
func CheckName(name string) error {
	if !validName.MatchString(name) || strings.HasSuffix(name, tempSuffix) {
		return fmt.Errorf("%q is not a savepoint's name\nHint: use up to 64 letters, digits, _, - and dots", name)
	}
	return nil
}

// Open reads what a savepoint says of itself; Verify then reads the rest.
func Open(fsys vfs.FS, dir string) (*Info, error) {
	path := filepath.Join(dir, indexName)
	doc, err := readFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &DamagedError{path, "it does not exist: this is no savepoint, or one that was not completed"}
	}
	if err != nil {
		return nil, fmt.Errorf("read savepoint: %w", err)
	}
	line, body, _ := strings.Cut(string(doc), "\n")
	if want := firstLine([]byte(body)); line != strings.TrimSuffix(want, "\n") {
		if strings.HasPrefix(line, magic) && !strings.HasPrefix(line, magic+fmt.Sprint(Format, " ")) {
			return nil, fmt.Errorf("savepoint %s is of another format: %s\nHint: use it with the version of sluice that made it or a later one", dir, line)
		}
		return nil, &DamagedError{path, "its checksum does not match"}
	}
	info := new(Info)
	if err := json.Unmarshal([]byte(body), info); err != nil {
		return nil, &DamagedError{path, err.Error()}
	}
	return info, nil
}

const magic = "sluice-savepoint "

// firstLine is the magic, the format and the CRC-32C of the rest.
func firstLine(body []byte) string {
	return fmt.Sprintf("%s%d %08x\n", magic, Format, crc32.Checksum(body, castagnoli))
}

// Verify reads every file of a savepoint and compares it with what was written.
func Verify(fsys vfs.FS, dir string, info *Info) error {
	for _, want := range info.Files {
		path := filepath.Join(dir, filepath.FromSlash(want.Path))
		got, err := sum(fsys, path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &DamagedError{path, "it does not exist"}
		case err != nil:
			return fmt.Errorf("read savepoint: %w", err)
		case got.Bytes != want.Bytes:
			return &DamagedError{path, fmt.Sprintf("it has %d bytes, and %d were written", got.Bytes, want.Bytes)}
		case got.CRC32C != want.CRC32C:
			return &DamagedError{path, "its checksum does not match"}
		}
	}
	return nil
}

func sum(fsys vfs.FS, path string) (f File, err error) {
	in, err := fsys.Open(path)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	h := crc32.New(castagnoli)
	f.Bytes, err = io.Copy(h, in)
	f.CRC32C = h.Sum32()
	return f, err
}

func readFile(fsys vfs.FS, path string) (_ []byte, err error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(f)
}

// List returns the savepoints of a directory, by name, and those that cannot be read with why.
func List(fsys vfs.FS, root string) (infos []*Info, bad []error, err error) {
	names, err := fsys.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list savepoints: %w", err)
	}
	for _, name := range names {
		if CheckName(name) != nil {
			continue
		}
		info, err := Open(fsys, filepath.Join(root, name))
		if err != nil {
			bad = append(bad, err)
			continue
		}
		info.Name = name // a copy may have been renamed
		infos = append(infos, info)
	}
	return infos, bad, nil
}
