package oracle_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// screen answers queries over sample rows, to leave out those that plain DuckDB cannot answer.
type screen struct{ conn *duck.Conn }

func newScreen(t testing.TB) *screen {
	db, err := duck.Open(duck.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); db.Close() })
	statements := append([]string{}, planner.WindowMacros...)
	for i, name := range []string{"t", "u"} {
		statements = append(statements, "CREATE TABLE "+name+" AS SELECT * EXCLUDE (_seq) FROM ("+wideRows(100, int64(i))+")")
	}
	for _, sql := range statements {
		if err := conn.Exec(context.Background(), sql); err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
	}
	return &screen{conn}
}

func (s *screen) answers(sql string) error {
	_, fields, err := s.conn.Collect(context.Background(), sql)
	for _, f := range fields {
		if f.Type.Kind == vector.Null {
			return fmt.Errorf("column %s has no type", f.Name)
		}
	}
	return err
}

// shrink drops what it can from a failing query while some failure remains.
func shrink(t testing.TB, tr trial, q *query, why error) (*query, error) {
	budget := 60
	for again := true; again; {
		again = false
		for i := 0; budget > 0; i++ {
			small := q.clone()
			if !small.drop(&i) {
				break
			}
			budget--
			tr.queries = []namedQuery{{"shrunk", small.sql()}}
			if failed := tr.failing(t); failed["shrunk"] != nil && !isPlanError(failed["shrunk"]) {
				q, why, again = small, failed["shrunk"], true
				break
			}
		}
	}
	return q, why
}

func isPlanError(err error) bool { return len(err.Error()) > 5 && err.Error()[:5] == "plan:" }

func (q *query) clone() *query {
	if q == nil {
		return nil
	}
	c := *q
	c.child, c.other = q.child.clone(), q.other.clone()
	c.items = append([]item{}, q.items...)
	return &c
}

// drop makes the n-th reduction of the tree, if it has so many.
func (q *query) drop(n *int) bool {
	k := *n
	take := func() bool { k--; return k < 0 }
	var visit func(q *query) bool
	visit = func(q *query) bool {
		if q == nil || q.kind == "table" || q.kind == "window" {
			return false
		}
		for at := range q.items {
			if len(q.items) > 1 && take() {
				q.items = append(q.items[:at:at], q.items[at+1:]...)
				return true
			}
		}
		if q.where != "" && take() {
			q.where = ""
			return true
		}
		if q.having != "" && take() {
			q.having = ""
			return true
		}
		if q.kind == "union" && take() {
			*q = *q.child
			return true
		}
		if q.child.kind == "select" && q.kind == "select" && take() {
			q.child = q.child.child
			return true
		}
		return visit(q.child) || visit(q.other)
	}
	return visit(q)
}
