package ddl

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseDuration(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"500ms", 500 * time.Millisecond, true},
		{"1 second", time.Second, true},
		{" 5 MINUTES ", 5 * time.Minute, true},
		{"2 minutes 30 seconds", 150 * time.Second, true},
		{"2 minutes, 30 seconds", 150 * time.Second, true},
		{"1h30m", 90 * time.Minute, true},
		{"1.5s", 1500 * time.Millisecond, true},
		{".5s", 500 * time.Millisecond, true},
		{"10µs", 10 * time.Microsecond, true},
		{"1 week 1 day", 8 * day, true},
		{"PT1M30.5S", 90500 * time.Millisecond, true},
		{"P1DT1H", 25 * time.Hour, true},
		{"0", 0, true},
		{"0s", 0, true},
		{"-1s", -time.Second, true},
		{"10", 0, false},
		{"", 0, false},
		{"-", 0, false},
		{"P", 0, false},
		{"PT", 0, false},
		{"PT1.2.3S", 0, false},
		{"1 month", 0, false},
		{"s", 0, false},
		{"1s x", 0, false},
		{"1s -1s", 0, false},
		{"300 years", 0, false},
		{"1000000 weeks", 0, false},
		{"9223372036854775807ns", math.MaxInt64, true},
		{"9223372036854775808ns", 0, false},
	} {
		got, err := ParseDuration(c.in)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("ParseDuration(%q) = %v, %v", c.in, got, err)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"64MiB", 64 << 20, true},
		{"64 mb", 64e6, true},
		{"1.5GiB", 3 << 29, true},
		{"1024", 1024, true},
		{"10 bytes", 10, true},
		{"2TB", 2e12, true},
		{"0", 0, true},
		{"64M", 0, false},
		{"1k", 0, false},
		{"-1", 0, false},
		{"MB", 0, false},
		{"", 0, false},
		{"1.2.3MB", 0, false},
		{"9223372036854775808", 0, false},
		{"99999999TiB", 0, false},
	} {
		got, err := ParseBytes(c.in)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("ParseBytes(%q) = %v, %v", c.in, got, err)
		}
		if back, err := ParseBytes(FormatBytes(got)); err != nil || back != got {
			t.Errorf("ParseBytes(%q) = %v, %v; want %d", FormatBytes(got), back, err, got)
		}
	}
}

func TestSuggest(t *testing.T) {
	names := []string{"connector", "path", "format", "mode", "max_batch_rows", "max_batch_bytes", "poll_interval"}
	for name, want := range map[string]string{
		"formt": "format", "FORMAT": "format", "fromat": "format", "max-batch-rows": "max_batch_rows",
		"batch_rows": "max_batch_rows", "interval": "poll_interval", "conector": "connector", "pth": "path",
		"zzz": "", "m": "", "": "", "paths": "path", "file_path": "path",
	} {
		if got := Suggest(name, names); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestValues(t *testing.T) {
	f, err := Parse("f.sql", []byte(`CREATE SOURCE s (a INT) WITH (
		connector = 'file', path = ['a,b', 'c'], format = 'CSV', poll_interval = '2 seconds', header = 'off', skip = 7)`), nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Check(f.Statements[0].(*Source).With, `connector "file"`, testSpecs["file"])
	if err != nil {
		t.Fatal(err)
	}
	got := []any{v.List("path"), v.String("format"), v.String("mode"), v.Duration("poll_interval"), v.Bool("header"),
		v.Bytes("max_line_bytes"), v.Int("skip"), v.Given("skip"), v.Given("mode")}
	want := []any{[]string{"a,b", "c"}, "csv", "tail", 2 * time.Second, false, int64(1 << 20), int64(7), true, false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if e := v.Errorf("format", "no"); e.Line != 2 || e.Column != 53 {
		t.Errorf("error at %d:%d", e.Line, e.Column)
	}
	defer func() {
		if recover() == nil {
			t.Error("a getter of the wrong kind did not panic")
		}
	}()
	v.Int("format")
}

// TestOverride checks that a flag replaces what the file says, and that its errors need no position.
func TestOverride(t *testing.T) {
	f, err := Parse("f.sql", []byte("SET max_batch_rows = 5; SET keep_snapshots = 3"), nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Check(f.Settings().Override(MaxBatchRows, "7"), "the pipeline", PipelineOptions)
	if err != nil || v.Int(MaxBatchRows) != 7 || v.Int(KeepSnapshots) != 3 || v.Duration(TriggerInterval) != time.Second {
		t.Errorf("got %+v, %v", v, err)
	}
	_, err = Check(Options{}.Override(MaxBatchRows, "many"), "the pipeline", PipelineOptions)
	want := "option \"max_batch_rows\" of the pipeline must be a whole number, not \"many\"\nhint: write max_batch_rows = 100000"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	_, err = Check(Options{}, `connector "file"`, testSpecs["file"])
	if err == nil || strings.Count(err.Error(), "needs option") != 3 {
		t.Errorf("got %v", err)
	}
}

// TestDuckDBPositions checks that offsets into a query map back to the file, Unicode spaces or not.
func TestDuckDBPositions(t *testing.T) {
	src := "-- é\nCREATE VIEW v AS\n  SELECT\u00a0\u3000 größe, nosuch FROM t;"
	f, err := Parse("f.sql", []byte(src), nil)
	if err != nil {
		t.Fatal(err)
	}
	q := f.Statements[0].(*View).Query
	at := strings.Index(q.SQL, "nosuch")
	e := f.Errorf(f.SpanIn(q, at), "column does not exist").WithHint("look").WithDetail("none")
	want := "f.sql:3:19: column does not exist\n" +
		"  3 |   SELECT\u00a0\u3000 größe, nosuch FROM t;\n" +
		"    |                    ^^^^^^\ndetail: none\nhint: look"
	if diff := cmp.Diff(want, e.Error()); diff != "" {
		t.Error(diff)
	}
	if got := f.SpanIn(q, 1000); f.Text[got.Start:got.End] != "t" {
		t.Errorf("an offset behind the query is %q", f.Text[got.Start:got.End])
	}
}

func TestBadBytes(t *testing.T) {
	for src, want := range map[string]string{
		"SELECT 1;\nSELECT '\xe9'": "f.sql:2:9: byte 0xe9 is not UTF-8",
		"SELECT\x00 1":             "f.sql:1:7: file contains a NUL byte",
		"\xff\xfeS\x00":            "f.sql:1:1: file is UTF-16, not UTF-8",
	} {
		_, err := Parse("f.sql", []byte(src), nil)
		var e *Error
		if !errors.As(err, &e) || !strings.HasPrefix(e.Error(), want+"\n") {
			t.Errorf("%q: %v", src, err)
		}
	}
}

func TestJoin(t *testing.T) {
	f := &File{Name: "f", Text: "a\nb\n"}
	late, early := f.Errorf(Span{2, 3}, "late"), f.Errorf(Span{0, 1}, "early")
	if Join(nil, nil) != nil {
		t.Error("no errors are an error")
	}
	err := Join(errors.New("plain"), Errors{late}, early, late)
	want := "f:1:1: early\n  1 | a\n    | ^\n\nf:2:1: late\n  2 | b\n    | ^\n\nplain"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestRedactURL(t *testing.T) {
	for in, want := range map[string]string{
		"postgres://u:secret@h/db":         "postgres://u:xxxxx@h/db",
		"postgres://h/db?password=secret":  "postgres://h/db?password=xxxxx",
		"host=h password=secret dbname=d":  "host=h password=*** dbname=d",
		"host=h password = 'a b' dbname=d": "host=h password = *** dbname=d",
		"postgres://u:se%zzcret@h/db":      "postgres://***",
		"localhost:9092":                   "localhost:9092",
		"file:///tmp/a b":                  "file:///tmp/a%20b",
	} {
		if got := RedactURL(in); got != want {
			t.Errorf("RedactURL(%q) = %q, want %q", in, got, want)
		}
	}
}
