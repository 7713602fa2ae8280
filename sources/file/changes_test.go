package file

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sources/sourcetest"
)

var changeColumns = []vector.Field{
	{Name: "id", Type: vector.Of(vector.Int64)},
	{Name: "name", Type: vector.Of(vector.Varchar)},
	{Name: "at", Type: vector.Of(vector.Timestamp)},
	{Name: "tags", Type: vector.ListOf(vector.Of(vector.Varchar))},
}

// randomImage returns a row as Debezium writes it.
func randomImage(r *rand.Rand, id int) string {
	return fmt.Sprintf(`{"id":%d,"name":%q,"at":%d,"tags":["t%d","a tag longer than twelve %d"]}`, id, strings.Repeat("n", r.IntN(30)), r.Int64N(1<<50), r.IntN(9), r.IntN(9))
}

// randomEvents returns events good and bad, with and without a schema.
func randomEvents(r *rand.Rand, n int) []byte {
	var buf bytes.Buffer
	schema := `{"type":"struct","fields":[{"type":"struct","fields":[{"type":"int64","field":"id"},{"type":"int64","name":"io.debezium.time.%s","field":"at"}],"field":"after"}]}`
	for i := range n {
		before, after := randomImage(r, r.IntN(50)), randomImage(r, r.IntN(50))
		event := ""
		switch r.IntN(12) {
		case 0, 1, 2:
			event = `{"before":null,"after":` + after + `,"source":{"lsn":` + fmt.Sprint(i) + `},"op":"c"}`
		case 3, 4, 5:
			event = `{"before":` + before + `,"after":` + after + `,"op":"u"}`
		case 6:
			event = `{"after":` + after + `,"op":"u","before":` + before + `}`
		case 7, 8:
			event = `{"before":` + before + `,"after":null,"op":"d"}`
		case 9:
			event = []string{`null`, ``, `{"op":"m"}`}[r.IntN(3)]
		case 10:
			event = []string{`{"before":null,"after":` + after + `,"op":"u"}`, `{"op":"t"}`, `{"op":"c","after":{"id":"x"}}`, `{"op":"u","before":` + before + `,"after":` + after, `{}`}[r.IntN(5)]
		default:
			event = `{"op":"r","after":` + after + `}`
		}
		if strings.HasPrefix(event, "{") && r.IntN(3) > 0 {
			s := fmt.Sprintf(schema, []string{"MicroTimestamp", "Timestamp"}[r.IntN(2)])
			if event = `{"schema":` + s + `,"payload":` + event + `}`; r.IntN(8) == 0 {
				event = strings.Replace(`{"payload":`+strings.TrimPrefix(event, `{"schema":`+s+`,"payload":`), `}}`, `},"schema":`+s+`}`, 1)
			}
		}
		buf.WriteString(event + "\n")
	}
	return buf.Bytes()
}

func randomChangelog(r *rand.Rand, n int) []byte {
	var buf bytes.Buffer
	for range n {
		weight := []string{`,"_weight":1`, `,"_weight":-1`, `,"_weight":3`, `,"_weight":-2`, `,"_weight":0`, ``}[min(r.IntN(7), 5)]
		fmt.Fprintf(&buf, `{"id":%d,"name":%q%s,"tags":["a tag longer than twelve"],"at":"2024-01-02T10:11:12Z"}`+"\n", r.IntN(50), strings.Repeat("n", r.IntN(30)), weight)
	}
	return buf.Bytes()
}

func TestConformanceChanges(t *testing.T) {
	for _, format := range []string{"changelog", "debezium", "json"} {
		for _, key := range [][]int{nil, {0}} {
			if format == "json" && key == nil {
				continue
			}
			for _, mode := range []string{"tail", "bounded"} {
				t.Run(fmt.Sprint(format, key, mode), func(t *testing.T) {
					dir := t.TempDir()
					seed := rand.Uint64()
					r := rand.New(rand.NewPCG(seed, 0))
					t.Logf("seed %d", seed)
					for i := range 4 {
						data := randomEvents(r, r.IntN(500))
						if format != "debezium" {
							data = randomChangelog(r, r.IntN(500))
						}
						if i == 2 {
							data = data[:max(0, len(data)-1)] // a last line without a line end
						}
						write(t, filepath.Join(dir, fmt.Sprintf("f%d.ndjson", i)), data)
					}
					sourcetest.Run(t, sourcetest.Config{
						Columns: changeColumns, Rows: -1, Bad: -1, Seed: seed, Weighted: true, Keyed: key != nil,
						Open: func(t testing.TB) microbatch.Source {
							s := open(t, Options{Path: "*.ndjson", BaseDir: dir, Mode: mode, Format: format, Columns: changeColumns, Key: key})
							s.blockBytes = 1 << (9 + r.IntN(12))
							return s
						},
					})
				})
			}
		}
	}
}

// Changelogs in CSV and Parquet give the rows that the same changelog in NDJSON gives.
func TestChangelogEncodings(t *testing.T) {
	dir := t.TempDir()
	columns := changeColumns[:2]
	db, err := duck.Open(duck.Options{})
	must(t, err)
	defer db.Close()
	conn, err := db.Connect()
	must(t, err)
	defer conn.Close()
	must(t, conn.Exec(context.Background(), "CREATE TABLE log AS SELECT i % 7 AS id, CASE WHEN i % 5 > 0 THEN 'name ' || i END AS name, "+
		"CASE WHEN i % 11 > 0 THEN (i % 4 - 2)::INTEGER END AS _weight FROM range(400) t(i)"))
	for _, encoding := range []string{"json", "csv", "parquet"} {
		must(t, conn.Exec(context.Background(), fmt.Sprintf("COPY log TO '%s' (FORMAT %s)", filepath.Join(dir, "log."+encoding), encoding)))
	}
	for _, key := range [][]int{nil, {1}} {
		var want []string
		var wantBad int
		for _, encoding := range []string{"json", "csv", "parquet"} {
			opt := Options{Path: "log." + encoding, BaseDir: dir, Mode: "bounded", Format: "changelog", Columns: columns, Key: key}
			s := open(t, opt)
			rows, err := s.Poll(context.Background(), nil, microbatch.Limits{})
			must(t, err)
			got := sourcetest.RenderAll(rows.Chunks)
			for i := range got {
				got[i] = got[i][:strings.LastIndex(got[i], " | ")] // without _seq
			}
			if encoding == "json" {
				want, wantBad = got, len(rows.Bad)
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") || len(rows.Bad) != wantBad || len(got)+wantBad != 400 {
				t.Errorf("key %v, %s: %d rows and %d bad rows, want %d and %d as in NDJSON", key, encoding, len(got), len(rows.Bad), len(want), wantBad)
			}
			must(t, s.Close())
			if key == nil {
				continue
			}
			sourcetest.Run(t, sourcetest.Config{Columns: columns, Rows: int64(len(want)), Bad: int64(wantBad), Weighted: true, Keyed: key != nil,
				Open: func(t testing.TB) microbatch.Source { return open(t, opt) }})
		}
	}
}

// What a changelog's options and columns must not be.
func TestChangeOptions(t *testing.T) {
	list := vector.ListOf(vector.Of(vector.Int64))
	for _, tc := range []struct {
		opt  Options
		want string
	}{
		{Options{Format: "changelog", Path: "x.log"}, "cannot tell the encoding of x.log"},
		{Options{Format: "changelog", Path: "x.ndjson", Encoding: "xml"}, "encoding = 'xml' is not known"},
		{Options{Format: "debezium", Path: "x.csv", Encoding: "csv"}, "encoding = 'csv' is not how Debezium's events are written"},
		{Options{Format: "debezium", Path: "x", TimestampUnit: "s"}, "timestamp_unit = 's' is not known"},
		{Options{Format: "debezium", Path: "x", TimeUnit: "s"}, "time_unit = 's' is not known"},
		{Options{Format: "debezium", Path: "x", DecimalHandlingMode: "exact"}, "decimal_handling_mode = 'exact' is not known"},
		{Options{Format: "changelog", Path: "x.json", Columns: []vector.Field{{Name: "_weight", Type: vector.Of(vector.Int64)}}}, "column _weight is reserved"},
		{Options{Format: "json", Path: "x", Columns: []vector.Field{{Name: "l", Type: list}}, Key: []int{0}}, "column l: a BIGINT[] cannot be part of the primary key"},
		{Options{Format: "changelog", Path: "x.csv", Columns: []vector.Field{{Name: "l", Type: list}}}, "column l: BIGINT[] cannot be read from csv"},
	} {
		if tc.opt.Columns == nil {
			tc.opt.Columns = idColumn
		}
		if err := tc.opt.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.opt, err, tc.want)
		}
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x.csv"), []byte("id,weight\n1,1\n"))
	if _, err := New(Options{Format: "changelog", Path: "x.csv", BaseDir: dir, Columns: idColumn}); err == nil || !strings.Contains(err.Error(), "has no column _weight") {
		t.Errorf("a CSV file without _weight: %v", err)
	}
	for opt, want := range map[*Options]planner.SourceChanges{
		{Format: "json"}: planner.AppendOnly, {Format: "json", Key: []int{0}}: planner.Keyed,
		{Format: "debezium"}: planner.Weighted, {Format: "changelog", Key: []int{0}}: planner.Keyed,
	} {
		if got := opt.withDefaults().Changes; got != want {
			t.Errorf("format %s, key %v: %s, want %s", opt.Format, opt.Key, got, want)
		}
	}
}

// A file of events that grows by some bytes at a time gives, polled in between, what it gives when whole; an
// update is never cut.
func TestGrowingEvents(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	data := randomEvents(r, 60)
	for _, key := range [][]int{nil, {0}} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.ndjson")
		opt := Options{Path: "x.ndjson", BaseDir: dir, Format: "debezium", Columns: changeColumns, Key: key}
		s := open(t, opt)
		write(t, path, nil)
		var from []byte
		var got []string
		for p := 0; p < len(data); {
			n := min(1+r.IntN(300), len(data)-p)
			appendTo(t, path, data[p:p+n])
			p += n
			for {
				rows := mustPoll(t, s, from, 1+r.Int64N(3))
				got = append(got, sourcetest.RenderAll(rows.Chunks)...)
				if string(rows.To) == string(from) {
					break
				}
				from = rows.To
			}
		}
		whole := mustPoll(t, open(t, opt), nil, 0)
		if want := sourcetest.RenderAll(whole.Chunks); strings.Join(got, "\n") != strings.Join(want, "\n") || len(got) < 40 {
			t.Errorf("key %v: %d rows, want %d", key, len(got), len(want))
		}
	}
}
