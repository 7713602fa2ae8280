package oracle_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/oracle"
	"github.com/sluice-sql/sluice/internal/oracle/oracletest"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
)

// column is a column of the random queries' sources: its type, the class of expressions it can stand for,
// and the values its rows take.
type column struct{ name, sqlType, class, values string }

// wideColumns are the columns of the sources t and u. f is well conditioned, so that sums of it agree to
// the tolerance wherever batches are cut; fx and f4 hold what breaks sums, for everything else.
var wideColumns = []column{
	{"k", "BIGINT", "int", "[0, 1, 2, 3, 4, NULL]"},
	{"v", "BIGINT", "int", "range(40) || [NULL]"},
	{"ti", "TINYINT", "int", "[-128, 127, 0, 1, 5, NULL]"},
	{"ub", "UBIGINT", "uint", "[0, 1, 18446744073709551615, NULL]"},
	{"big", "HUGEINT", "huge", "[100000000000000000000, -100000000000000000001, 7, NULL]"},
	{"d", "DECIMAL(10,2)", "dec", "[0.01, -0.01, 99999999.99, 12.5, 7, NULL]"},
	{"dd", "DECIMAL(38,6)", "dec38", "['12345678901234567890123456.123456'::DECIMAL(38,6), '-99999999999999999999999999.999999'::DECIMAL(38,6), 0.000001, NULL]"},
	{"f", "DOUBLE", "dbl", "list_transform(range(60), lambda x: (x * 37 % 1000) / 7 + 1) || [NULL]"},
	{"fx", "DOUBLE", "wild", "['nan', 'inf', '-inf', '1e300', '-1e300', '1e-300', '0', '-1.5', NULL]"},
	{"f4", "FLOAT", "wild", "['nan', '1.5', '-2.25', '3e38', '0', NULL]"},
	{"s", "VARCHAR", "str", "['', 'a', 'ab', 'é', 'long text that is not inlined', 'A', 'a%b', '10', '2020-01-02', NULL]"},
	{"ts", "TIMESTAMP", "ts", ""},
	{"tx", "TIMESTAMP", "wildts", "['1969-12-31 23:59:59.999999', '1900-02-28', 'infinity', '-infinity', '2020-01-31 01:00:00', NULL]"},
	{"dt", "DATE", "date", "['1969-12-31', '2020-01-01', '2020-02-29', '2020-12-31', NULL]"},
	{"tz", "TIMESTAMPTZ", "tz", "['1969-12-31 23:00:00+00', '2020-03-29 01:30:00+00', '2020-01-01 00:00:00+05', NULL]"},
	{"tm", "TIME", "time", "['00:00:00', '23:59:59.999999', '12:30:00', NULL]"},
	{"iv", "INTERVAL", "iv", "['30 days', '1 month', '720 hours', '-1 day', '0 seconds', NULL]"},
	{"b", "BOOLEAN", "bool", "[true, false, NULL]"},
	{"l", "INTEGER[]", "ints", "[[], [1, 2], [1, NULL], NULL, [3], [2, 1, 1]]"},
	{"ls", "VARCHAR[]", "strs", "[[], ['a'], ['b', NULL, 'a'], NULL]"},
	{"st", "STRUCT(a INTEGER, b VARCHAR)", "struct", "[{'a': 1, 'b': 'x'}, {'a': NULL, 'b': 'x'}, {'a': 2, 'b': NULL}, NULL]"},
	{"m", "MAP(VARCHAR, INTEGER)", "map", "[MAP {'a': 1}, MAP {'a': 1, 'b': NULL}, MAP {}, NULL]"},
	{"bl", "BLOB", "blob", `['', '\x00\xFF', 'abc', NULL]`},
	{"uu", "UUID", "uuid", "['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', NULL]"},
	{"en", "ENUM('z', 'x', 'y')", "enum", "['x', 'y', 'z', NULL]"},
}

// wideSources declares t and u; watermark is an expression over ts or empty.
func wideSources(kinds [2]string, watermark string) string {
	return wideSource("t", kinds[0], watermark) + wideSource("u", kinds[1], watermark)
}

// wideRows is a query for n rows of a wide source.
func wideRows(n int, seed int64) string { return wideRowsOf(wideColumns, n, seed) }

func wideRowsOf(columns []column, n int, seed int64) string {
	var b strings.Builder
	b.WriteString("SELECT ")
	for _, c := range columns {
		pick := fmt.Sprintf("hash(i, %d, '%s')", seed, c.name)
		if c.name == "ts" {
			fmt.Fprintf(&b, "CASE WHEN %[1]s %% 23 = 0 THEN NULL ELSE TIMESTAMP '2020-01-01' + to_seconds(i * 0.4) - to_seconds((%[1]s %% 9)::DOUBLE) END AS ts, ", pick)
			continue
		}
		fmt.Fprintf(&b, "(%s)[(%s %% len(%s))::INTEGER + 1]::%s AS %s, ", c.values, pick, c.values, c.sqlType, c.name)
	}
	fmt.Fprintf(&b, "i::BIGINT AS _seq FROM range(%d) r(i) ORDER BY i", n)
	return b.String()
}

// namedQuery is a view to test.
type namedQuery struct{ name, sql string }

// trial is one run of some views over the wide sources.
type trial struct {
	watermark string
	queries   []namedQuery
	seed      int64
	rows, cut int
	silent    int // polls at which u has no rows yet
	fail      bool
	kinds     [2]string // of t and u: weighted or keyed; append if empty
	lateness  string    // of t and u
	closing   bool      // EMIT ON WINDOW CLOSE
}

func (tr trial) text() string {
	var b strings.Builder
	sources := wideSources(tr.kinds, tr.watermark)
	if tr.lateness != "" {
		sources = strings.ReplaceAll(sources, "connector = 'test'", "connector = 'test', allowed_lateness = '"+tr.lateness+"'")
	}
	b.WriteString(sources)
	emit := ""
	if tr.closing {
		emit = " EMIT ON WINDOW CLOSE"
	}
	for _, q := range tr.queries {
		fmt.Fprintf(&b, "CREATE MATERIALIZED VIEW %q AS %s%s;\n", q.name, q.sql, emit)
	}
	return b.String()
}

// errOneShot says that plain DuckDB cannot answer the query, so that there is nothing to compare with.
var errOneShot = errors.New("one-shot DuckDB raises an error, too")

// tryPlan is plan with its error.
func tryPlan(text string) (*planner.Pipeline, error) {
	file, err := ddl.Parse("random.sql", []byte(text), nil)
	if err != nil {
		return nil, err
	}
	db, err := duck.Open(duck.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	conn, err := db.Connect()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return planner.Plan(context.Background(), file, conn)
}

// run plans the views and runs them to the end of the input, compared after every batch.
func (tr trial) run(t testing.TB) (*planner.Pipeline, error) {
	p, err := tryPlan(tr.text())
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return p, tr.drive(t, p)
}

func (tr trial) drive(t testing.TB, p *planner.Pipeline) error {
	rng := rand.New(rand.NewSource(tr.seed))
	sources := map[string]*rowsSource{}
	for i, name := range []string{"t", "u"} {
		sources[name] = &rowsSource{rows: tr.chunk(t, i), cut: func() int64 { return int64(rng.Intn(tr.cut)) }}
	}
	polls, cut := 0, sources["u"].cut
	sources["u"].cut = func() int64 {
		if polls++; polls <= tr.silent {
			return 0
		}
		return cut()
	}
	sink := newSink(t, p, sources)
	defer sink.Release()
	err := oracletest.Drive(config(t, p, sources, sink), sink, oracletest.Options{Rand: rng, Fail: tr.fail, Replay: true})
	if err == nil {
		return nil
	}
	return tr.judge(p, sources, err)
}

// judge tells a wrong engine from a query that plain DuckDB cannot answer either over some prefix.
func (tr trial) judge(p *planner.Pipeline, sources map[string]*rowsSource, problem error) error {
	if strings.Contains(problem.Error(), "differs after batch") || strings.Contains(problem.Error(), "replay of batch") {
		return problem
	}
	ctx := context.Background()
	one, err := oracle.New(ctx, p, duck.Options{})
	if err != nil {
		return err
	}
	defer one.Close()
	// Why: DuckDB does not compute columns that nobody reads, and so does not raise there; the pipeline
	// keeps every aggregate of a subquery. Without its optimizer DuckDB computes them, too.
	if _, _, err := one.Query(ctx, "PRAGMA disable_optimizer"); err != nil {
		return err
	}
	most := 0
	for _, src := range sources {
		most = max(most, src.rows.N)
	}
	for at := 0; at < most; at += 5 {
		for name, src := range sources {
			keep := make([]bool, src.rows.N)
			if at >= src.rows.N {
				continue
			}
			for i := at; i < min(at+5, src.rows.N); i++ {
				keep[i] = true
			}
			if err := one.Load(ctx, name, []*vector.Chunk{vector.Filter(src.rows, keep)}); err != nil {
				return err
			}
		}
		for _, v := range p.Views {
			if _, _, err := one.Query(ctx, "SELECT * FROM "+vector.QuoteIdent(v.Name)); err != nil {
				return fmt.Errorf("%w: %v", errOneShot, err)
			}
		}
	}
	return problem
}

// chunk makes the rows of source number i.
func (tr trial) chunk(t testing.TB, i int) *vector.Chunk {
	switch kind := tr.kinds[i]; kind {
	case "", "append":
		return wideChunk(t, tr.rows, tr.seed*2+int64(i))
	default:
		return wideChanges(t, kind, tr.rows, tr.seed*2+int64(i))
	}
}

var wideChunks sync.Map // of chunks by what made them

func wideChunk(t testing.TB, n int, seed int64) *vector.Chunk {
	return wideChunkOf(t, wideRows(n, seed))
}

func wideChunkOf(t testing.TB, sql string) *vector.Chunk {
	c, ok := wideChunks.Load(sql)
	if !ok {
		c = generate(t, sql)
		wideChunks.Store(sql, c)
	}
	return c.(*vector.Chunk)
}

// failing runs views together and finds those that fail, each with its error; errOneShot is none.
func (tr trial) failing(t testing.TB) map[string]error {
	_, err := tr.run(t)
	if err == nil {
		return nil
	}
	if len(tr.queries) == 1 {
		if errors.Is(err, errOneShot) {
			return nil
		}
		return map[string]error{tr.queries[0].name: err}
	}
	out := map[string]error{}
	half := len(tr.queries) / 2
	for _, part := range [][]namedQuery{tr.queries[:half], tr.queries[half:]} {
		sub := tr
		sub.queries = part
		for name, err := range sub.failing(t) {
			out[name] = err
		}
	}
	return out
}
