package faulttest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// rowSQL keeps every good row, so that what became of a line can be seen; with_nul makes text that Postgres
// cannot hold as it is. %s: file name and more options.
const rowSQL = `
SET max_batch_rows = 4;
CREATE SOURCE line (id BIGINT, small TINYINT, price DECIMAL(6,2), day DATE, name VARCHAR)
WITH (connector = 'file', path = '%s'%s);
CREATE MATERIALIZED VIEW kept AS SELECT * FROM line;
CREATE MATERIALIZED VIEW with_nul AS SELECT id, chr(0) || name || '␀' || chr(0) AS name FROM line;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n, count(name) AS names, sum(id) AS ids FROM line;
`

// badLine is a line of input with the reason why it must go to the dead letters; without one it is good.
type badLine struct{ text, reason string }

var jsonLines = []badLine{
	{`{"id": 1, "small": 1, "price": 1.50, "day": "2026-01-01", "name": "plain"}`, ""},
	{`{"id": 2, "small": 1`, "malformed JSON"},
	{`not json at all`, "malformed JSON"},
	{`[1, 2]`, "expected an object"},
	{`{"id": 3, "small": 1} trailing`, "unexpected content after the object"},
	{`{"id": 4, "extra": {"deep": [1, {"x": null}]}, "name": "extra column"}`, ""},
	{`{"name": "missing columns"}`, ""},
	{`{}`, ""},
	{`{"id": 9223372036854775808}`, "id"},
	{`{"id": 5, "small": 128}`, "small"},
	{`{"id": 6, "price": 12345.67}`, "price"},
	{`{"id": 7, "day": "2026-02-30"}`, "day"},
	{`{"id": "eight"}`, "id"},
	{`{"id": 9, "name": "nul \u0000 inside"}`, "NUL"},
	{"{\"id\": 10, \"name\": \"bad utf-8 \xff\xfe\"}", "UTF-8"},
	{"{\"id\": 11, \"name\": \"raw nul \x00 byte\"}", "JSON"},
	{`{"id": 12, "name": "lone \ud800 surrogate"}`, "surrogate"},
	{`{"id": 13, "id": 14, "name": "twice"}`, "id"},
	{"", "-"}, // an empty line is nothing
	{`{"id": 15, "name": "␀ in text"}`, ""},
	{`{"id": 16, "name": "last, without a line end"}`, ""},
}

var csvLines = []badLine{
	{`1,1,1.50,2026-01-01,plain`, ""},
	{`2,1`, "expected 5 fields, found 2"},
	{`3,1,1.50,2026-01-01,too,many`, "fields"},
	{`9223372036854775808,1,1.50,2026-01-01,overflow`, "id"},
	{`4,128,1.50,2026-01-01,overflow`, "small"},
	{`5,1,12345.67,2026-01-01,overflow`, "price"},
	{`6,1,1.50,2026-02-30,no such day`, "day"},
	{`7,1,1.50,2026-01-01,"quoted, with a comma"`, ""},
	{`8,1,1.50,2026-01-01,"closed" too early`, "closing quote"},
	{"9,1,1.50,2026-01-01,bad \xff byte", "UTF-8"},
	{"10,1,1.50,2026-01-01,nul \x00 byte", "NUL"},
	{`,,,,`, ""},
	{`11,1,1.50,2026-01-01,last`, ""},
}

// TestBadLines: every bad line ends in the dead letters once, with its offset and the reason, and every
// good one in the table; whether the run is cut short or not.
func TestBadLines(t *testing.T) {
	for _, tc := range []struct {
		file, head string
		lines      []badLine
	}{
		{"lines.ndjson", "", jsonLines},
		{"lines.csv", "id,small,price,day,name", csvLines},
	} {
		for _, spec := range []string{"", "batch.after_prepare=exit:2", "sink.commit.after_commit=exit:2"} {
			t.Run(tc.file+" "+spec, func(t *testing.T) {
				t.Parallel()
				text, want, good := layOut(tc.head, tc.lines)
				p := newPipeline(t, pgtest.URL(t), fmt.Sprintf(rowSQL, tc.file, ""), map[string][]byte{tc.file: text})
				if spec != "" {
					p.crashed(t, spec)
				}
				p.mustRun(t)
				p.verify(t)
				p.replay(t)
				p.checkDeadLetters(t, want)
				if got := pgtest.Rows(t, p.url, "SELECT (SELECT count(*) FROM kept), n FROM counted"); got[0] != fmt.Sprintf("%d|%d", good, good) {
					t.Errorf("rows kept and counted: %s, want %d", got, good)
				}
			})
		}
	}
}

// layOut joins lines to a file and says which offset must be refused why.
func layOut(head string, lines []badLine) (text []byte, want map[int64]badLine, good int) {
	var b bytes.Buffer
	if head != "" {
		b.WriteString(head + "\n")
	}
	want = map[int64]badLine{}
	for i, l := range lines {
		switch l.reason {
		case "":
			good++
		case "-":
		default:
			want[int64(b.Len())] = l
		}
		b.WriteString(l.text)
		if i < len(lines)-1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes(), want, good
}

// checkDeadLetters compares sluice.dead_letter with what was expected.
func (p *pipeline) checkDeadLetters(t *testing.T, want map[int64]badLine) {
	t.Helper()
	seen := map[int64]bool{}
	for _, row := range pgtest.Rows(t, p.url, `SELECT "offset", source, partition, reason, raw FROM sluice.dead_letter ORDER BY 1`) {
		cells := strings.SplitN(row, "|", 5)
		var offset int64
		if _, err := fmt.Sscan(cells[0], &offset); err != nil {
			t.Fatal(err)
		}
		l, ok := want[offset]
		switch {
		case !ok:
			t.Errorf("a good line, or none, is a dead letter: %s", row)
		case seen[offset]:
			t.Errorf("twice among the dead letters: %s", row)
		case !strings.Contains(cells[3], l.reason) || cells[1] != "line" || cells[4] == "":
			t.Errorf("dead letter %s, want a reason with %q", row, l.reason)
		}
		seen[offset] = true
	}
	for offset, l := range want {
		if !seen[offset] {
			t.Errorf("not among the dead letters: %q at %d", l.text, offset)
		}
	}
}

// TestOnErrorStop: the first bad line stops the pipeline, with file, line, byte and the next step; what
// came before it is right. With the line corrected the pipeline goes on.
func TestOnErrorStop(t *testing.T) {
	t.Parallel()
	good := `{"id": %d, "name": "n"}` + "\n"
	var b bytes.Buffer
	for i := range 9 {
		fmt.Fprintf(&b, good, i)
	}
	offset := b.Len()
	b.WriteString(`{"id": oops, "name": "n"}` + "\n" + fmt.Sprintf(good, 10))
	p := newPipeline(t, pgtest.URL(t), fmt.Sprintf(rowSQL, "lines.ndjson", ", on_error = 'stop'"), map[string][]byte{"lines.ndjson": b.Bytes()})
	for range 2 { // it does not get past it by being started again
		p.run(t).mustFail(t, 1, fmt.Sprintf("lines.ndjson:10 (byte %d)", offset), "malformed JSON", "hint: correct the row, or set on_error = 'dead_letter'")
	}
	p.verify(t)
	fixed, err := os.OpenFile(filepath.Join(p.dir, "lines.ndjson"), os.O_WRONLY, 0)
	if err == nil {
		_, err = fixed.WriteAt([]byte(`{"id": 1000, "name": "n"}`), int64(offset))
	}
	if err == nil {
		err = fixed.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	p.mustRun(t)
	p.verify(t)
	if got := pgtest.Rows(t, p.url, "SELECT n, ids FROM counted"); got[0] != "11|1046" {
		t.Errorf("n and ids are %s", got)
	}
}

// TestFileChangesBetweenRuns: rows that were counted cannot be taken back, so a file that no longer holds
// them is refused, with nothing changed; the original put back, the pipeline goes on.
func TestFileChangesBetweenRuns(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, path string)
		says   string
	}{
		{"shrunk", func(t *testing.T, path string) { edit(t, path, func(b []byte) []byte { return b[:len(b)/10] }) }, "truncated"},
		{"emptied", func(t *testing.T, path string) { edit(t, path, func([]byte) []byte { return nil }) }, "truncated"},
		{"rewritten", func(t *testing.T, path string) {
			edit(t, path, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"amount": `), []byte(`"amount":9`)) })
		}, "rewritten"},
		{"replaced", func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path+".new", b, 0o600)
			}
			if err == nil {
				err = os.Rename(path+".new", path)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "another file now has that name"},
		{"deleted", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, "events.ndjson"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newEvents(t)
			p.crashed(t, "batch.after_done=exit:8")
			path := filepath.Join(p.dir, "events.ndjson")
			away := path + ".away"
			if err := os.Link(path, away); err != nil { // keeps the inode, not the bytes
				t.Fatal(err)
			}
			before := p.contents(t)
			tc.change(t, path)
			r := p.run(t)
			if r.code != 1 && r.code != 3 { // a file that is not there is a mistake in the SQL file
				t.Errorf("exit code %d", r.code)
			}
			r.mustFail(t, r.code, tc.says, "events.ndjson", "hint: ")
			t.Log(lastLines(r.stderr))
			if diff := cmp.Diff(before, p.contents(t)); diff != "" {
				t.Errorf("the refused run changed something:\n%s", diff)
			}
			// The original again: the same inode with the same bytes.
			edit(t, away, func([]byte) []byte { return events() })
			if err := os.Rename(away, path); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(away); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			p.finish(t)
		})
	}
}

// TestFileShrinksWhileReExecuted: the batch after the decision point must be executed again and its rows
// are gone: the engine must not commit something else in its place.
func TestFileShrinksWhileReExecuted(t *testing.T) {
	t.Parallel()
	p := newEvents(t)
	p.crashed(t, "batch.after_prepare=exit:5")
	p.loseStaging(t)
	path := filepath.Join(p.dir, "events.ndjson")
	original, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	edit(t, path, func(b []byte) []byte { return b[:len(b)/10] })
	before := p.contents(t)
	p.run(t).mustFail(t, 1, "truncated", "hint: ")
	if diff := cmp.Diff(before, p.contents(t)); diff != "" {
		t.Errorf("the refused run changed something:\n%s", diff)
	}
	edit(t, path, func([]byte) []byte { return original })
	p.finish(t)
}
