package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/queries"
)

// The Nexmark part runs every query of queries/nexmark over the same three files, once into nothing, once
// into PostgreSQL, and once in plain DuckDB.

// share is each stream's part of 50 events.
var share = map[string]int64{"person": 1, "auction": 3, "bid": 46}

// A nexmarkQuery is one file of queries/nexmark, made to read files.
type nexmarkQuery struct {
	name  string
	input int64 // rows of the sources that it reads
	// pipeline is the file without its sinks; shot are the statements that answer it in plain DuckDB.
	pipeline, view string
	shot           []string
	query          string
}

type nexmarkResult struct {
	name, class          string
	input                int64
	shot, nothing, table []time.Duration
	out                  int64
	state                summary
}

// nexmark measures every query.
func (b *bench) nexmark(ctx context.Context) (results []*nexmarkResult, err error) {
	files := map[string]string{}
	for typ, n := range share {
		if files[typ], err = makeNexmark(b.cache, typ, b.rows*n/50); err != nil {
			return nil, err
		}
	}
	for _, name := range queries.Names() {
		if !strings.HasPrefix(name, "nexmark/") || !b.wanted(name) {
			continue
		}
		q, err := b.nexmarkQuery(name, files)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		r, err := b.nexmarkRuns(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		results = append(results, r)
	}
	slices.SortFunc(results, func(x, y *nexmarkResult) int {
		return cmp.Or(cmp.Compare(len(x.name), len(y.name)), cmp.Compare(x.name, y.name))
	})
	return results, nil
}

func (b *bench) wanted(name string) bool {
	if b.only == "" {
		return true
	}
	return slices.Contains(strings.Split(b.only, ","), strings.TrimSuffix(filepath.Base(name), ".sql"))
}

// nexmarkQuery turns a query's file into a pipeline over files and into one-shot statements.
func (b *bench) nexmarkQuery(name string, files map[string]string) (*nexmarkQuery, error) {
	text, err := queries.Files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	file, err := ddl.Parse(name, text, func(string) (string, bool) { return "", false })
	if err != nil {
		return nil, err
	}
	q := &nexmarkQuery{name: strings.TrimSuffix(filepath.Base(name), ".sql"), shot: slices.Clone(planner.WindowMacros)}
	var out strings.Builder
	for _, st := range file.Statements {
		sql := file.Text[st.Pos().Start:st.Pos().End]
		switch st := st.(type) {
		case *ddl.Sink:
			continue
		case *ddl.Source:
			sql = b.sourceOverFile(q, file, st, files)
		case *ddl.Table:
			path := testdata(st.With)
			q.shot = append(q.shot, fmt.Sprintf("CREATE VIEW %s AS SELECT * FROM %s", st.Name.SQL(), literal(path)))
			sql = relativePath.ReplaceAllString(sql, literal(path))
		case *ddl.Macro:
			q.shot = append(q.shot, st.Create.SQL)
		case *ddl.View:
			q.view, q.query = st.Name.Name, st.Query.SQL
			if !st.Materialized {
				q.shot = append(q.shot, "CREATE VIEW "+st.Name.SQL()+" AS "+st.Query.SQL)
			}
		}
		out.WriteString(sql + "\n")
	}
	q.pipeline = fmt.Sprintf("SET max_batch_rows = %d;\nSET max_batch_bytes = '1GiB';\n", nexmarkBatch) + out.String()
	return q, nil
}

// nexmarkBatch is the rows of a batch.
const nexmarkBatch = 100_000

var relativePath = regexp.MustCompile(`'\.\./\.\./testdata/[^']*'`)

// testdata is the path of a side input.
func testdata(with ddl.Options) string {
	path, _ := with.Get("path")
	abs, err := filepath.Abs(filepath.Join("queries", "nexmark", path))
	if err != nil {
		panic(err) // the working directory is gone
	}
	return abs
}

// sourceOverFile is a source's declaration with the generator replaced by the file that it wrote, and adds
// the same rows to the one-shot statements.
func (b *bench) sourceOverFile(q *nexmarkQuery, file *ddl.File, st *ddl.Source, files map[string]string) string {
	path, typ := "", st.Name.Name
	if connector, _ := st.With.Get("connector"); connector == "nexmark" {
		if t, ok := st.With.Get("type"); ok {
			typ = t
		}
		path = files[typ]
		q.input += b.rows * share[typ] / 50
	} else {
		path = testdata(st.With)
	}
	var columns []string
	for _, c := range st.Columns {
		columns = append(columns, fmt.Sprintf("%s: '%s'", c.Name.SQL(), strings.ReplaceAll(c.Type.SQL, "'", "''")))
	}
	read := fmt.Sprintf("read_json(%s, format = 'newline_delimited', columns = {%s})", literal(path), strings.Join(columns, ", "))
	if strings.HasSuffix(path, ".csv") {
		read = literal(path)
	}
	q.shot = append(q.shot, fmt.Sprintf("CREATE VIEW %s AS SELECT * FROM %s", st.Name.SQL(), read))
	return file.Text[st.Start:st.With.Start] + fmt.Sprintf("WITH (connector = 'file', path = %s);", literal(path))
}

// nexmarkRuns measures one query, the three ways in turns.
func (b *bench) nexmarkRuns(ctx context.Context, q *nexmarkQuery) (*nexmarkResult, error) {
	r := &nexmarkResult{name: q.name, input: q.input}
	for range b.runs {
		want, took, err := nexmarkShot(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("one-shot DuckDB: %w", err)
		}
		r.shot = append(r.shot, took)
		if err := b.nexmarkNothing(ctx, q, r); err != nil {
			return nil, err
		}
		if b.noPostgres {
			continue
		}
		if err := b.nexmarkTable(ctx, q, r, want); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(os.Stderr, "%-5s one-shot %6.2f s  into nothing %6.2f s  state %s rows\n", q.name, median(r.shot).Seconds(), median(r.nothing).Seconds(), thousands(r.state.StateRows))
	return r, nil
}

func nexmarkShot(ctx context.Context, q *nexmarkQuery) (rows int64, took time.Duration, err error) {
	db, err := duck.Open(duck.Options{Threads: 2})
	if err != nil {
		return 0, 0, err
	}
	defer db.Close()
	conn, err := db.Connect()
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	for _, sql := range q.shot {
		if err := conn.Exec(ctx, sql); err != nil {
			return 0, 0, err
		}
	}
	start := time.Now()
	if err := conn.Exec(ctx, "CREATE TEMP TABLE result AS "+q.query); err != nil {
		return 0, 0, err
	}
	took = time.Since(start)
	text, _, err := conn.QueryValue(ctx, "SELECT count(*)::VARCHAR FROM result")
	if err != nil {
		return 0, 0, err
	}
	_, err = fmt.Sscan(text, &rows)
	return rows, took, err
}

// nexmarkNothing runs a query into a sink that drops the rows, and asks explain for the class.
func (b *bench) nexmarkNothing(ctx context.Context, q *nexmarkQuery, r *nexmarkResult) (err error) {
	dir, done, err := b.scratch(ctx)
	if err != nil {
		return err
	}
	defer done(&err)
	s, err := b.run(ctx, dir, q.pipeline+fmt.Sprintf("CREATE SINK nothing FROM %s WITH (connector = 'blackhole');\n", q.view))
	if err != nil {
		return err
	}
	r.nothing, r.state, r.out = append(r.nothing, s.took()), s, s.RowsOut
	r.class, err = b.class(ctx, filepath.Join(dir, "bench.sql"))
	return err
}

// class is the costliest class of a file's operators.
func (b *bench) class(ctx context.Context, file string) (string, error) {
	doc, err := b.command(ctx, "explain", file, "--json")
	if err != nil {
		return "", err
	}
	var plan struct {
		Views []struct {
			Plan *planner.Explain `json:"plan"`
		} `json:"views"`
	}
	if err := json.Unmarshal(doc, &plan); err != nil {
		return "", fmt.Errorf("read the plan: %w", err)
	}
	order := []string{"sink", "linear", "stateful", "touched-partition", "full"}
	worst := 0
	var walk func(*planner.Explain)
	walk = func(n *planner.Explain) {
		worst = max(worst, slices.Index(order, n.Class))
		for _, c := range n.Children {
			walk(c)
		}
	}
	for _, v := range plan.Views {
		walk(v.Plan)
	}
	return order[worst], nil
}

// nexmarkTable runs a query into PostgreSQL and compares the number of rows.
func (b *bench) nexmarkTable(ctx context.Context, q *nexmarkQuery, r *nexmarkResult, want int64) (err error) {
	dir, done, err := b.scratch(ctx, q.view)
	if err != nil {
		return err
	}
	defer done(&err)
	s, err := b.run(ctx, dir, q.pipeline)
	if err != nil {
		return err
	}
	r.table = append(r.table, s.took())
	return b.inPostgres(ctx, func(conn *pgx.Conn) error {
		var got int64
		// A table without a key holds a row once, with its count.
		err := conn.QueryRow(ctx, "SELECT coalesce(sum(coalesce((to_jsonb(t) ->> '_sluice_count')::BIGINT, 1)), 0)::BIGINT FROM "+pgx.Identifier{q.view}.Sanitize()+" t").Scan(&got)
		if err == nil && got != want && !processingTime(q) {
			err = fmt.Errorf("the table has %d rows, one-shot DuckDB's answer %d", got, want)
		}
		return err
	})
}

// processingTime says that a query's answer depends on when it ran.
func processingTime(q *nexmarkQuery) bool {
	return strings.Contains(q.pipeline, "METADATA FROM 'batch_time'")
}

func reportNexmark(w *strings.Builder, results []*nexmarkResult) {
	fmt.Fprintf(w, "| query | class | rows in | one-shot, s | into nothing, s | rows/s | of one-shot | into PostgreSQL, s | of one-shot | rows out | state rows | state |\n")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range results {
		shot, nothing := median(r.shot), median(r.nothing)
		table, ratio := "", ""
		if len(r.table) > 0 {
			table = fmt.Sprintf("%.2f", median(r.table).Seconds())
			ratio = fmt.Sprintf("%.2f", shot.Seconds()/median(r.table).Seconds())
		}
		fmt.Fprintf(w, "| %s | %s | %s | %.2f | %.2f | %s | %.2f | %s | %s | %s | %s | %.1f MB |\n", r.name, r.class, thousands(r.input), shot.Seconds(), nothing.Seconds(),
			rate(r.input, nothing), shot.Seconds()/nothing.Seconds(), table, ratio, thousands(r.out), thousands(r.state.StateRows), float64(r.state.StateBytes)/1e6)
	}
}
