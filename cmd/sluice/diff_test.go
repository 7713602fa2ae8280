package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/planner/change"
)

// diffBase is the older version of most pairs.
const diffBase = `SET max_batch_rows = 100;
CREATE SOURCE bid (auction BIGINT, bidder BIGINT, price BIGINT, date_time TIMESTAMP, WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds')
  WITH (connector = 'nexmark', type = 'bid', events = 1000);
CREATE SOURCE ev (k BIGINT, v VARCHAR) WITH (connector = 'file', path = 'ev.ndjson');
CREATE MATERIALIZED VIEW per_auction AS SELECT auction, count(*) AS n FROM bid WHERE price > 10 GROUP BY auction;
CREATE MATERIALIZED VIEW mid AS SELECT bidder, median(price) AS m FROM bid GROUP BY bidder;
CREATE MATERIALIZED VIEW pairs AS SELECT ev.k, ev.v, bid.price FROM ev JOIN bid ON ev.k = bid.auction;
CREATE MATERIALIZED VIEW words AS SELECT v, count(*) AS n FROM ev GROUP BY v;
CREATE SINK words_out FROM words WITH (connector = 'postgres', table = 'w');
`

// TestDiff is a table over pairs of files: what is replaced in diffBase, the verdict, and what its worst change
// says.
func TestDiff(t *testing.T) {
	t.Parallel()
	at := func(pairs ...string) []string { return pairs }
	add := func(text string) []string {
		return at("\nCREATE MATERIALIZED VIEW per_auction", "\n"+text+"\nCREATE MATERIALIZED VIEW per_auction")
	}
	for _, c := range []struct {
		name    string
		replace []string // old, new, old, new …
		want    change.Verdict
		says    string
	}{
		{"nothing", nil, change.Identical, ""},
		{"comments and blanks", at("CREATE SOURCE ev", "-- the events\nCREATE   SOURCE ev"), change.Identical, ""},
		{"SET options", at("max_batch_rows = 100", "max_batch_rows = 7"), change.Identical, ""},
		{"keywords and aliases inside", at("SELECT bidder, median(price) AS m FROM bid GROUP BY bidder", "select x.bidder, median(x.price) as m from bid x group by 1"), change.Identical, ""},
		{"a plain view that nobody reads", add("CREATE VIEW dear AS SELECT * FROM bid WHERE price > 10;"), change.Identical, ""},
		{"sources in another order", at("CREATE SOURCE ev (k BIGINT, v VARCHAR) WITH (connector = 'file', path = 'ev.ndjson');\n", "",
			"SET max_batch_rows = 100;", "CREATE SOURCE ev (k BIGINT, v VARCHAR) WITH (connector = 'file', path = 'ev.ndjson');"), change.Compatible, ""},
		{"views in another order", at("CREATE MATERIALIZED VIEW mid AS SELECT bidder, median(price) AS m FROM bid GROUP BY bidder;\n", "",
			"CREATE MATERIALIZED VIEW per_auction", "CREATE MATERIALIZED VIEW mid AS SELECT bidder, median(price) AS m FROM bid GROUP BY bidder;\nCREATE MATERIALIZED VIEW per_auction"), change.Compatible, ""},
		{"a view removed", at("CREATE MATERIALIZED VIEW per_auction AS SELECT auction, count(*) AS n FROM bid WHERE price > 10 GROUP BY auction;\n", ""), change.Compatible, "view per_auction: is gone"},
		{"a view with a named table renamed", at("VIEW words AS", "VIEW words_2 AS", "FROM words WITH", "FROM words_2 WITH"), change.Compatible, "view words_2: was called words"},
		{"a view with its own table renamed", at("VIEW mid AS", "VIEW middle AS"), change.Rebuild, "view middle: is new"},
		{"a sink's other options", at("table = 'w'", "table = 'w', primary_key = 'true'"), change.Identical, ""},
		{"another table", at("table = 'w'", "table = 'w2'"), change.Rebuild, "lacks what was written already"},
		{"a table no longer written", add("CREATE SINK b FROM mid WITH (connector = 'blackhole');"), change.Compatible, "postgres public.mid is no longer written"},
		{"more events", at("events = 1000", "events = 2000, rate = 5"), change.Identical, ""},
		{"another seed", at("events = 1000", "events = 1000, seed = 3"), change.Incompatible, "source bid: seed changed"},
		{"another path", at("ev.ndjson", "ev2.ndjson"), change.Incompatible, "source ev: path changed"},
		{"another connector", at("connector = 'nexmark', type = 'bid', events = 1000", "connector = 'file', path = 'bid.ndjson'"), change.Incompatible, "source bid: connector"},
		{"an option's default said", at("path = 'ev.ndjson'", "path = 'ev.ndjson', max_row_bytes = '16MiB', mode = 'tail', format = 'json', on_error = 'stop'"), change.Identical, ""},
		{"rows of another size are bad", at("path = 'ev.ndjson'", "path = 'ev.ndjson', max_row_bytes = '1KiB'"), change.Rebuild, "source ev: max_row_bytes changed"},
		{"another format", at("path = 'ev.ndjson'", "path = 'ev.ndjson', format = 'csv'"), change.Rebuild, "source ev: format changed"},
		{"a VARCHAR column that nobody reads", at("v VARCHAR)", "v VARCHAR, w VARCHAR)"), change.Compatible, "column w VARCHAR is new"},
		{"a number that nobody reads", at("v VARCHAR)", "v VARCHAR, w TINYINT)"), change.Rebuild, "rows in which it cannot be read"},
		{"any column of generated rows", at("price BIGINT, date", "price BIGINT, channel VARCHAR, date"), change.Compatible, "column channel"},
		{"a source's column has another type", at("k BIGINT", "k INTEGER"), change.Rebuild, "column k"},
		{"another watermark", at("'4 seconds'", "'5 seconds'"), change.Rebuild, "source bid: WATERMARK changed"},
		{"an idle timeout", at("events = 1000", "events = 1000, idle_timeout = '1 minute'"), change.Identical, ""},
		{"a filter", at("price > 10", "price > 11"), change.Rebuild, "view per_auction, operator filter: price > 11; it was price > 10"},
		{"an aggregate", at("count(*) AS n FROM bid", "sum(price) AS n FROM bid"), change.Rebuild, "view per_auction, operator aggregate"},
		{"a join", at("ON ev.k = bid.auction", "ON ev.k = bid.bidder"), change.Rebuild, "view pairs, operator"},
		{"a column's name", at("median(price) AS m", "median(price) AS md"), change.Rebuild, "view mid, operator output: gives columns (bidder BIGINT, md DOUBLE)"},
		{"a new view", add("CREATE MATERIALIZED VIEW more AS SELECT max(price) AS p FROM bid;"), change.Rebuild, "view more: is new"},
		{"a new view with the states of another", add("CREATE MATERIALIZED VIEW more AS SELECT bidder, median(price) AS m FROM bid GROUP BY bidder;"), change.Rebuild, "view more: is new"},
		{"a new view that is only shown", add("CREATE MATERIALIZED VIEW more AS SELECT bidder, median(price) AS m FROM bid GROUP BY bidder; CREATE SINK s FROM more WITH (connector = 'stdout');"),
			change.Compatible, "view more: is new, and shows"},
		{"a new source", add("CREATE SOURCE other (a BIGINT) WITH (connector = 'file', path = 'o.csv');"), change.Compatible, "source other: is new"},
		{"a macro that a view calls", append(append(add("CREATE MACRO twice(x) AS x * 2;"), "median(price) AS m", "median(twice(price)) AS m"), "", ""), change.Rebuild, "view mid"},
		{"state_ttl", at("SET max_batch_rows = 100;", "SET state_ttl = '1 hour';"), change.Rebuild, "view"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			now := diffBase
			for i := 0; i < len(c.replace); i += 2 {
				if c.replace[i] != "" && !strings.Contains(now, c.replace[i]) {
					t.Fatalf("%q is not in the file", c.replace[i])
				}
				if c.replace[i] != "" {
					now = strings.Replace(now, c.replace[i], c.replace[i+1], 1)
				}
			}
			d := change.Compare(versionOf(t, diffBase), versionOf(t, now))
			var said []string
			for _, w := range d.Worst() {
				said = append(said, w.String())
			}
			if d.Verdict != c.want || !strings.Contains(strings.Join(said, "\n"), c.says) {
				t.Errorf("verdict %v, want %v with %q:\n%s", d.Verdict, c.want, c.says, strings.Join(said, "\n"))
			}
		})
	}
}

// TestDiffMetadata: a METADATA column is not in the rows, so that one more changes nothing but what the views say of it.
func TestDiffMetadata(t *testing.T) {
	t.Parallel()
	file := func(columns, options string) *change.Version {
		return versionOf(t, "CREATE SOURCE s (k BIGINT"+columns+") WITH (connector = 'http'"+options+"); CREATE MATERIALIZED VIEW v AS SELECT k, max(p) AS p FROM s GROUP BY k;")
	}
	const position, received = ", p BIGINT METADATA FROM 'position'", ", r TIMESTAMP METADATA FROM 'received_at'"
	for _, c := range []struct {
		name     string
		old, now *change.Version
		want     change.Verdict
	}{
		{"the same", file(position, ""), file(position, ""), change.Identical},
		{"options of how rows are taken", file(position, ""), file(position, ", listen = '127.0.0.1:0', validate = 'accept', retention = '1 day'"), change.Identical},
		{"one more", file(position, ""), file(position+received, ""), change.Compatible},
		{"one fewer", file(position+received, ""), file(position, ""), change.Compatible},
		{"one from the row instead", file(position, ""), file(", p BIGINT", ""), change.Rebuild},
		{"another format", file(position, ""), file(position, ", format = 'csv'"), change.Rebuild},
	} {
		if d := change.Compare(c.old, c.now); d.Verdict != c.want {
			t.Errorf("%s: %v, want %v: %v", c.name, d.Verdict, c.want, d.Worst())
		}
	}
}

// A version survives the log, and one of a newer format is refused by name.
func TestVersionInLog(t *testing.T) {
	t.Parallel()
	v := versionOf(t, diffBase)
	back, err := change.Decode(v.Encode())
	if err != nil || change.Compare(back, v).Verdict != change.Identical {
		t.Errorf("decoded: %v, %v", change.Compare(back, v), err)
	}
	if _, err := change.Decode([]byte(`{"format": 99}`)); err == nil || !strings.Contains(err.Error(), "format 99") {
		t.Errorf("format 99: %v", err)
	}
	if none, err := change.Decode(nil); none != nil || err != nil {
		t.Errorf("a log without: %v, %v", none, err)
	}
}

// TestMovedPipelineWithFiles: a file sink's directory was compared by its absolute path, so that a pipeline that was moved
// with all it has needed a rebuild, which one with files cannot have.
func TestMovedPipelineWithFiles(t *testing.T) {
	t.Parallel()
	here, there := t.TempDir(), t.TempDir()
	to := func(path string) string {
		return diffBase + "CREATE SINK f FROM pairs WITH (connector = 'file', path = '" + path + "');\n"
	}
	for _, c := range []struct {
		old, now         string // paths as the files name them
		oldBase, nowBase string
		want             change.Verdict
	}{
		{"out", "out", here, there, change.Identical},
		{"out", "./x/../out", here, there, change.Identical},
		{filepath.Join(here, "out"), "out", here, here, change.Identical}, // as logs had it at first
		{"out", filepath.Join(here, "out"), here, here, change.Identical},
		{filepath.Join(here, "out"), filepath.Join(here, "out"), here, there, change.Identical},
		{"out", "out2", here, here, change.Rebuild},
		{filepath.Join(here, "out"), "out", here, there, change.Rebuild},
	} {
		old, err := change.Decode(versionIn(t, c.oldBase, to(c.old)).Encode())
		if err != nil {
			t.Fatal(err)
		}
		now := versionIn(t, c.nowBase, to(c.now))
		if d := change.Compare(old, now); d.Verdict != c.want {
			t.Errorf("%s in %s, then %s in %s: %+v, want %s", c.old, c.oldBase, c.now, c.nowBase, d, c.want)
		}
	}
}

func versionOf(t *testing.T, sql string) *change.Version {
	t.Helper()
	return versionIn(t, t.TempDir(), sql)
}

func versionIn(t *testing.T, dir, sql string) *change.Version {
	t.Helper()
	a := &app{env: func(string) (string, bool) { return "", false }}
	l, err := a.load(context.Background(), spec{Name: "p", Text: []byte(sql), File: "p.sql", BaseDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return l.version()
}
