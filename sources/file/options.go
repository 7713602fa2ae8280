package file

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sources/decode"
)

// Options configure a source. The zero value of each field means its default.
type Options struct {
	// Name is the source's name, for messages. Defaults to "file".
	Name string
	// Columns are the declared columns. Required.
	Columns []vector.Field
	// Path is one path, a comma-separated or JSON list of paths, or globs (*, ?, [a-z]). Required.
	Path string
	// Format is "json" (one object a line), "csv", "parquet", "changelog" (rows with a _weight) or "debezium"
	// (change events). Defaults to what the extension says: .ndjson .jsonl .json, .csv .tsv, .parquet.
	Format string
	// Encoding is how a changelog is written: "json", "csv" or "parquet". Defaults to what the extension says.
	// The encoding of other formats is given with them.
	Encoding string
	// Changes says what rows mean, and so whether they carry a weight. Defaults to Keyed with a Key, to
	// Weighted for changelog and debezium, and else to AppendOnly.
	Changes planner.SourceChanges
	// Key are the columns of the primary key. Defaults to none.
	Key []int
	// TimestampUnit and TimeUnit are what numbers count in TIMESTAMP and TIME columns of Debezium's events
	// without a schema: "ms", "us" or "ns". Default to "us".
	TimestampUnit, TimeUnit string
	// DecimalHandlingMode is Debezium's setting of that name, for events without a schema: "precise" has
	// decimals as bytes in base64, "string" as text, "double" as numbers. Defaults to "precise".
	DecimalHandlingMode string
	// Mode is "tail" or "bounded"; see the package comment. Defaults to "tail".
	Mode string
	// Static says that the files are a table, which is read to its end once and must not change after that.
	// It makes the mode "bounded" and the identity "content". Defaults to false.
	Static bool
	// OnError says what to do with a row that cannot be decoded: "dead_letter" or "stop". Defaults to
	// "dead_letter".
	OnError string
	// BaseDir is what relative paths are relative to. Defaults to the working directory.
	BaseDir string
	// Identity is "inode" or "content": whether a file with another inode but the same bytes at its start
	// and before the offset still counts as the same file, as after a restore from a backup. Defaults to
	// "inode".
	Identity string
	// MaxRowBytes is the longest row; longer ones are bad rows. Defaults to 16 MiB.
	MaxRowBytes int64
	// CSV is for format csv only.
	CSV CSVOptions
}

// CSVOptions describe a CSV dialect.
type CSVOptions struct {
	// NoHeader says that the first line is a row; columns are then taken by position. Defaults to false:
	// the first line names the columns.
	NoHeader bool
	// Delimiter separates fields, one byte. Defaults to "," (to a tab for .tsv files).
	Delimiter string
	// Quote encloses fields, one byte. Defaults to the double quote.
	Quote string
	// Escape precedes a quote inside a quoted field, one byte. Defaults to Quote.
	Escape string
	// NullString is what an unquoted field must be to be NULL. Defaults to "", the empty field.
	NullString string
}

// DefaultMaxRowBytes is the longest row by default.
const DefaultMaxRowBytes = 16 << 20

// withDefaults fills in the defaults that do not need the file system.
func (o Options) withDefaults() Options {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&o.Name, "file")
	if o.Static {
		o.Mode, o.Identity = "bounded", "content" // the seal is stricter
	}
	def(&o.Mode, "tail")
	def(&o.OnError, "dead_letter")
	def(&o.Identity, "inode")
	if o.Format == "" {
		o.Format = formatOf(o.Path)
	}
	if strings.HasSuffix(strings.ToLower(strings.Trim(o.Path, `"] `)), ".tsv") {
		def(&o.CSV.Delimiter, "\t")
	}
	switch {
	case o.Format == "debezium":
		def(&o.Encoding, "json")
		def(&o.DecimalHandlingMode, "precise")
	case o.Format == "changelog":
		def(&o.Encoding, formatOf(o.Path))
	default:
		o.Encoding = o.Format
	}
	switch {
	case len(o.Key) > 0:
		o.Changes = planner.Keyed
	case o.isChangelog():
		o.Changes = planner.Weighted
	}
	def(&o.CSV.Delimiter, ",")
	def(&o.CSV.Quote, `"`)
	def(&o.CSV.Escape, o.CSV.Quote)
	if o.MaxRowBytes == 0 {
		o.MaxRowBytes = DefaultMaxRowBytes
	}
	return o
}

// Formats returns the format and how it is written, as given or guessed; "" where that cannot be told.
func (o Options) Formats() (format, encoding string) {
	o = o.withDefaults()
	return o.Format, o.Encoding
}

// isChangelog reports whether the format says of rows that they were deleted.
func (o Options) isChangelog() bool { return o.Format == "changelog" || o.Format == "debezium" }

// formatOf guesses the format by the extension of the last path named.
func formatOf(path string) string {
	switch strings.ToLower(filepath.Ext(strings.TrimRight(path, `"] `))) {
	case ".ndjson", ".jsonl", ".json":
		return "json"
	case ".csv", ".tsv":
		return "csv"
	case ".parquet":
		return "parquet"
	}
	return ""
}

// Validate returns all that is wrong with the options, joined. It looks at the file system only for the
// files that a bounded source needs to be there.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	oneOf := func(option, value string, allowed ...string) {
		for _, a := range allowed {
			if value == a {
				return
			}
		}
		bad("%s = '%s' is not known\nHint: use %s", option, value, "'"+strings.Join(allowed, "' or '")+"'")
	}
	oneOf("mode", o.Mode, "tail", "bounded")
	oneOf("on_error", o.OnError, "dead_letter", "stop")
	oneOf("identity", o.Identity, "inode", "content")
	if o.Format == "" && o.Path != "" {
		bad("cannot tell the format of %s by its extension\nHint: add format = 'json', 'csv' or 'parquet'", o.Path)
	} else if o.Path != "" || o.Format != "" {
		oneOf("format", o.Format, "json", "csv", "parquet", "changelog", "debezium")
	}
	if len(o.Columns) == 0 {
		bad("no columns are declared")
	}
	errs = append(errs, decode.Check(o.Encoding, o.Columns)...)
	errs = append(errs, o.checkColumns()...)
	errs = append(errs, o.checkChanges()...)
	if o.MaxRowBytes < 1<<10 || o.MaxRowBytes > 1<<30 {
		bad("max_row_bytes = %d is not between 1 KiB and 1 GiB", o.MaxRowBytes)
	}
	if o.Encoding == "csv" {
		errs = append(errs, o.CSV.check()...)
	}
	return errors.Join(append(errs, o.checkPath()...)...)
}

func (o Options) checkColumns() (errs []error) {
	seen := map[string]bool{}
	for _, c := range o.Columns {
		if seen[c.Name] {
			errs = append(errs, fmt.Errorf("column %s is declared twice", c.Name))
		}
		seen[c.Name] = true
		if c.Name == "_seq" || c.Name == "_w" || c.Name == decode.WeightField {
			errs = append(errs, fmt.Errorf("column %s is reserved\nHint: rename the column", c.Name))
		}
	}
	return errs
}

func (c CSVOptions) check() (errs []error) {
	for _, f := range []struct{ option, value string }{
		{"delimiter", c.Delimiter}, {"quote", c.Quote}, {"escape", c.Escape},
	} {
		if len(f.value) != 1 || f.value == "\n" || f.value == "\r" {
			errs = append(errs, fmt.Errorf("%s = %q must be one byte and no line end", f.option, f.value))
		}
	}
	if c.Delimiter == c.Quote || c.Delimiter == c.Escape {
		errs = append(errs, fmt.Errorf("delimiter and quote are both %q", c.Delimiter))
	}
	return errs
}

func (o Options) checkPath() []error {
	if o.Path == "" {
		return []error{errors.New("no path is given\nHint: add path = 'file.ndjson', a list or a glob")}
	}
	patterns, err := o.patterns()
	if err != nil {
		return []error{err}
	}
	var errs []error
	for _, p := range patterns {
		switch {
		case strings.HasSuffix(p, ".gz") || strings.HasSuffix(p, ".zst"):
			errs = append(errs, fmt.Errorf("%s: compressed files cannot be read\nHint: unpack it first", p))
		case strings.Contains(p, "**"):
			errs = append(errs, fmt.Errorf("%s: ** is not supported\nHint: name the directories with *, one per level", p))
		case isGlob(p):
			if _, err := filepath.Match(p, ""); err != nil {
				errs = append(errs, fmt.Errorf("%s: malformed glob: %w", p, err))
			}
		case o.Mode == "bounded":
			if info, err := os.Stat(o.abs(p)); err != nil {
				errs = append(errs, fmt.Errorf("cannot read %s: %w\nHint: relative paths start at %s", p, errors.Unwrap(err), o.abs(".")))
			} else if info.IsDir() {
				errs = append(errs, fmt.Errorf("%s is a directory\nHint: use a glob such as '%s'", p, filepath.Join(p, "*.ndjson")))
			}
		}
	}
	return errs
}

// patterns splits Path into its paths and globs.
func (o Options) patterns() ([]string, error) {
	var list []string
	trimmed := strings.TrimSpace(o.Path)
	if strings.HasPrefix(trimmed, "[") && strings.Contains(trimmed, `"`) {
		if err := json.Unmarshal([]byte(trimmed), &list); err != nil {
			return nil, fmt.Errorf("path is not a JSON list of strings: %w", err)
		}
	} else if _, err := os.Lstat(o.abs(o.Path)); err == nil {
		list = []string{o.Path} // a name with a comma in it, or one that looks like a glob
		return list, nil
	} else {
		list = strings.Split(o.Path, ",")
	}
	for i := range list {
		if list[i] = strings.TrimSpace(list[i]); list[i] == "" {
			return nil, errors.New("path has an empty entry")
		}
	}
	return list, nil
}

func isGlob(p string) bool { return strings.ContainsAny(p, "*?[") }

func (o Options) abs(p string) string {
	if filepath.IsAbs(p) || o.BaseDir == "" {
		return p
	}
	return filepath.Join(o.BaseDir, p)
}
