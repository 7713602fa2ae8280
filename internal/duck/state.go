package duck

/*
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"runtime/cgo"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/sluice-sql/sluice/internal/vector"
)

// KeyedState is a table that SQL looks up by key. Its calls come from inside a running statement, on the
// goroutine that runs it, and must not use the connection.
type KeyedState interface {
	// Get looks up unique keys (cols of keys = the key columns, n rows ≤ vector.Size). rows has all state
	// columns; row i of rows is meaningful iff found[i]. Valid until the next call on the state.
	Get(keys *vector.Chunk) (rows *vector.Chunk, found []bool)
	// Rows looks up key prefixes; the matches of key i are rows [start[i], start[i+1]) of the returned
	// chunk, which may have more than vector.Size rows.
	Rows(prefix *vector.Chunk) (rows *vector.Chunk, start []int)
	// Scan returns a cursor over all rows; each call gives the next ≤ vector.Size rows, nil at the end.
	// The state must not change while a cursor is open.
	Scan() func() *vector.Chunk
}

// DueState is a KeyedState that knows which of its rows are about to be evicted.
type DueState interface {
	KeyedState
	// Due returns a cursor over them, as Scan does.
	Due() func() *vector.Chunk
}

// RegisterState creates, on all connections of the instance, for a state whose first nkey columns are
// its key:
//
//	name_get(k…)   the row with that key as a STRUCT of all columns, NULL if there is none
//	name_rows(p…)  the rows whose first nprefix columns are these, a LIST of STRUCT; only if nprefix > 0
//	name_scan()    table function: all rows
//	name_due()     table function: the rows of Due(), if st has such a method
//
// A NULL is a key like any other. The functions are VOLATILE: a prepared statement looks up what is
// there when it runs. If st has a method Len() int, it tells the planner the size of a scan.
func (c *Conn) RegisterState(name string, cols []vector.Field, nkey, nprefix int, st KeyedState) error {
	if nkey < 0 || nkey > len(cols) || nprefix > nkey {
		return fmt.Errorf("register state %s: %d columns cannot have a key of %d and a prefix of %d", name, len(cols), nkey, nprefix)
	}
	cols = slices.Clone(cols)
	row := vector.Type{Kind: vector.Struct, Fields: cols}
	scan := &tableFunction{name: name + "_scan", cols: cols, open: st.Scan, rows: func() int {
		if l, ok := st.(interface{ Len() int }); ok {
			return l.Len()
		}
		return -1
	}}
	if err := c.registerTable(scan); err != nil {
		return err
	}
	if d, ok := st.(DueState); ok {
		if err := c.registerTable(&tableFunction{name: name + "_due", cols: cols, open: d.Due, rows: func() int { return -1 }}); err != nil {
			return err
		}
	}
	if nkey > 0 {
		get := newLookup(name+"_get", cols[:nkey], row)
		get.call = func(keys *vector.Chunk, out unsafe.Pointer) error { return get.rowOf(st, keys, out) }
		if err := c.registerScalar(get); err != nil {
			return err
		}
	}
	if nprefix <= 0 {
		return nil
	}
	rows := newLookup(name+"_rows", cols[:nprefix], vector.ListOf(row))
	rows.call = func(keys *vector.Chunk, out unsafe.Pointer) error { return rows.rowsOf(st, keys, out) }
	return c.registerScalar(rows)
}

// A lookup is the Go side of a scalar function.
type lookup struct {
	name   string
	args   []vector.Field
	result vector.Type
	read   *reader
	write  *writer
	out    vector.Vector
	valid  []uint64
	call   func(keys *vector.Chunk, out unsafe.Pointer) error
	// busy guards against use from two threads: the buffers above are the function's own.
	busy atomic.Bool
}

func newLookup(name string, args []vector.Field, result vector.Type) *lookup {
	types := make([]vector.Type, len(args))
	for i, a := range args {
		types[i] = a.Type
	}
	return &lookup{name: name, args: args, result: result, read: newReader(types), write: newWriter(result), out: vector.Vector{Type: result}}
}

func (l *lookup) release() { l.read.close() }

func (c *Conn) registerScalar(l *lookup) error {
	if err := c.free(l.name); err != nil {
		return err
	}
	f := mapping.CreateScalarFunction()
	defer mapping.DestroyScalarFunction(&f)
	mapping.ScalarFunctionSetName(f, l.name)
	for _, a := range l.args {
		t, err := logicalType(a.Type)
		if err != nil {
			return fmt.Errorf("register %s, argument %s: %w", l.name, a.Name, err)
		}
		mapping.ScalarFunctionAddParameter(f, t)
		mapping.DestroyLogicalType(&t)
	}
	t, err := logicalType(l.result)
	if err != nil {
		return fmt.Errorf("register %s: %w", l.name, err)
	}
	mapping.ScalarFunctionSetReturnType(f, t)
	mapping.DestroyLogicalType(&t)
	// Why: otherwise constant arguments are looked up when the statement is prepared, and equal calls are
	// merged or repeated as the optimizer likes.
	mapping.ScalarFunctionSetVolatile(f)
	// Without it, a NULL argument would answer NULL unasked.
	mapping.ScalarFunctionSetSpecialHandling(f)
	C.sl_scalar_function(f.Ptr, C.uintptr_t(cgo.NewHandle(l)))
	if mapping.RegisterScalarFunction(c.h, f) == mapping.StateError {
		return fmt.Errorf("register %s: duckdb refuses it", l.name)
	}
	return nil
}

//export sluiceDuckCall
func sluiceDuckCall(h C.uintptr_t, chunk, result unsafe.Pointer) (msg *C.char) {
	var err error
	what := "call function"
	defer answer(&what, &msg, &err)
	l := cgo.Handle(h).Value().(*lookup)
	what = l.name
	if !l.busy.CompareAndSwap(false, true) {
		err = fmt.Errorf("called from two threads at once; open the instance with one thread")
		return nil
	}
	defer l.busy.Store(false)
	keys := l.read.view(chunk)
	defer l.read.release()
	if keys.N > 0 {
		err = l.call(keys, result)
	}
	return nil
}

// rowOf answers name_get.
func (l *lookup) rowOf(st KeyedState, keys *vector.Chunk, out unsafe.Pointer) error {
	rows, found := st.Get(keys)
	n := keys.N
	if len(found) < n {
		return fmt.Errorf("the state answered %d of %d keys", len(found), n)
	}
	if err := l.checkRow(rows, l.result); err != nil {
		return err
	}
	l.valid = append(l.valid[:0], make([]uint64, (n+63)/64)...)
	for i, ok := range found[:n] {
		if ok {
			l.valid[i>>6] |= 1 << (uint(i) & 63)
		}
	}
	l.out.Valid, l.out.Children = l.valid, rows.Cols
	return l.emit(n, out)
}

// rowsOf answers name_rows.
func (l *lookup) rowsOf(st KeyedState, keys *vector.Chunk, out unsafe.Pointer) error {
	rows, start := st.Rows(keys)
	n := keys.N
	if len(start) < n+1 || start[n] > rows.N {
		return fmt.Errorf("the state answered %d of %d prefixes", len(start)-1, n)
	}
	if err := l.checkRow(rows, *l.result.Elem); err != nil {
		return err
	}
	if l.out.Data == nil {
		l.out = vector.New(l.result, vector.Size)
	}
	for i := range n {
		l.out.PutEntry(i, start[i], start[i+1]-start[i])
	}
	l.out.Children[0].Children = rows.Cols
	return l.emit(n, out)
}

// checkRow compares a state's answer with its declaration.
func (l *lookup) checkRow(rows *vector.Chunk, row vector.Type) error {
	if len(rows.Cols) != len(row.Fields) {
		return fmt.Errorf("the state answered %d columns, %d are declared", len(rows.Cols), len(row.Fields))
	}
	for i, f := range row.Fields {
		if t := rows.Cols[i].Type; !sameLayout(t, f.Type) {
			return fmt.Errorf("column %s is a %s, not the %s declared", f.Name, t, f.Type)
		}
	}
	return nil
}

// emit copies the answer into DuckDB's result vector.
func (l *lookup) emit(n int, out unsafe.Pointer) error {
	l.write.begin()
	l.write.plan(&l.out, n, nil)
	if !C.sl_write_vector(out, C.uint64_t(n), &l.write.nodes[0]) {
		return errNoMemory
	}
	l.write.begin()
	l.write.fill(&l.out, n)
	return nil
}
