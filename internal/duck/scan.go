package duck

/*
#include "bridge.h"
*/
import "C"

import (
	"context"
	"fmt"
	"runtime/cgo"
	"slices"
	"strings"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A tableFunction is the Go side of a table function: DuckDB binds it at planning, and opens a cursor
// for every scan.
type tableFunction struct {
	name string
	cols []vector.Field
	// types are DuckDB's handles of the column types; released with the function.
	types []mapping.LogicalType
	// open starts a scan: the answer gives the next chunk, nil at the end.
	open func() func() *vector.Chunk
	// rows estimates the size of a scan, -1 if unknown.
	rows func() int
}

// A cursor is one scan. Invariant: it belongs to the scan's own init data; two scans that shared one
// would each see only a part of the rows.
type cursor struct {
	fn   *tableFunction
	next func() *vector.Chunk
	// cols maps the scan's columns to the function's, -1 for one that nobody reads; skip says the same
	// in C's terms.
	cols  []int
	skip  []uint8
	write *writer
	// keep holds what DuckDB may still point at until the scan ends.
	keep []*vector.Chunk
}

func (c *Conn) registerTable(fn *tableFunction) error {
	if err := c.free(fn.name); err != nil {
		return err
	}
	for _, col := range fn.cols {
		t, err := logicalType(col.Type)
		if err != nil {
			fn.release()
			return fmt.Errorf("register %s(), column %s: %w", fn.name, col.Name, err)
		}
		fn.types = append(fn.types, t)
	}
	f := mapping.CreateTableFunction()
	defer mapping.DestroyTableFunction(&f)
	mapping.TableFunctionSetName(f, fn.name)
	mapping.TableFunctionSupportsProjectionPushdown(f, true)
	C.sl_table_function(f.Ptr, C.uintptr_t(cgo.NewHandle(fn)))
	if mapping.RegisterTableFunction(c.h, f) == mapping.StateError {
		return fmt.Errorf("register %s(): duckdb refuses it", fn.name)
	}
	return nil
}

// free refuses the name of a function that exists. DuckDB would replace one of the same signature, its
// own ones too, and keep one of another signature beside the new one.
//
// Why all names at once: an executor registers hundreds of functions before it runs a statement, and DuckDB
// takes most of a millisecond to say that one does not exist, since it looks for similar names.
func (c *Conn) free(name string) error {
	f := &c.db.functions
	f.Lock()
	defer f.Unlock()
	if before := c.db.statements.Load(); f.taken == nil || f.after != before {
		chunks, _, err := c.Collect(context.Background(), "SELECT DISTINCT lower(function_name) FROM duckdb_functions()")
		if err != nil {
			return fmt.Errorf("register %s: %w", name, err)
		}
		f.taken, f.after = map[string]bool{}, before+1
		for _, ch := range chunks {
			for i := range ch.N {
				f.taken[string(ch.Cols[0].Str(i))] = true
			}
		}
	}
	name = strings.ToLower(name)
	if f.taken[name] {
		return fmt.Errorf("register %s: a function of that name exists already; choose another name", name)
	}
	f.taken[name] = true // or DuckDB refuses it now: nobody tries that name again
	return nil
}

func (fn *tableFunction) release() {
	for i := range fn.types {
		mapping.DestroyLogicalType(&fn.types[i])
	}
}

// answer turns a panic or an error into the message that bridge.c reports and frees.
func answer(what *string, msg **C.char, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%v", r)
	}
	if *err != nil {
		*msg = C.CString(*what + ": " + (*err).Error())
	}
}

//export sluiceDuckRelease
func sluiceDuckRelease(h C.uintptr_t) {
	v := cgo.Handle(h).Value()
	cgo.Handle(h).Delete()
	if r, ok := v.(interface{ release() }); ok {
		r.release()
	}
}

//export sluiceDuckBind
func sluiceDuckBind(h C.uintptr_t, info unsafe.Pointer) (msg *C.char) {
	var err error
	what := "bind table function"
	defer answer(&what, &msg, &err)
	fn := cgo.Handle(h).Value().(*tableFunction)
	what = fn.name + "()"
	b := mapping.BindInfo{Ptr: info}
	for i, col := range fn.cols {
		mapping.BindAddResultColumn(b, col.Name, fn.types[i])
	}
	if n := fn.rows(); n >= 0 {
		mapping.BindSetCardinality(b, mapping.IdxT(n), false)
	}
	return nil
}

//export sluiceDuckInit
func sluiceDuckInit(h C.uintptr_t, info unsafe.Pointer) (msg *C.char) {
	var err error
	what := "start scan"
	defer answer(&what, &msg, &err)
	fn := cgo.Handle(h).Value().(*tableFunction)
	what = fn.name + "()"
	cur := &cursor{fn: fn, next: fn.open()}
	var types []vector.Type
	for i := range uint64(C.sl_init_columns(info)) {
		// A scan that needs no column, like count(*), asks for one with a number that is not ours.
		col, skip := -1, uint8(1)
		if id := uint64(C.sl_init_column(info, C.uint64_t(i))); id < uint64(len(fn.cols)) {
			col, skip = int(id), 0
			types = append(types, fn.cols[id].Type)
		}
		cur.cols, cur.skip = append(cur.cols, col), append(cur.skip, skip)
	}
	cur.write = newWriter(types...)
	C.sl_init_cursor(info, C.uintptr_t(cgo.NewHandle(cur)))
	return nil
}

//export sluiceDuckScan
func sluiceDuckScan(h C.uintptr_t, chunk unsafe.Pointer, rows *C.uint64_t) (msg *C.char) {
	var err error
	what := "scan"
	defer answer(&what, &msg, &err)
	cur := cgo.Handle(h).Value().(*cursor)
	what = cur.fn.name + "()"
	for {
		src := cur.next()
		if src == nil {
			return nil
		}
		// An empty chunk would tell DuckDB that the scan is over.
		if src.N == 0 {
			continue
		}
		if err = cur.emit(src, chunk); err == nil {
			*rows = C.uint64_t(src.N)
		}
		return nil
	}
}

// emit copies the scan's columns of a chunk into DuckDB's.
func (cur *cursor) emit(src *vector.Chunk, dst unsafe.Pointer) error {
	if src.N > vector.Size {
		return fmt.Errorf("a chunk of %d rows does not fit into %d", src.N, vector.Size)
	}
	if len(src.Cols) != len(cur.fn.cols) {
		return fmt.Errorf("a chunk of %d columns does not fit the %d declared", len(src.Cols), len(cur.fn.cols))
	}
	w := cur.write
	w.begin()
	for _, col := range cur.cols {
		if col < 0 {
			continue
		}
		if v, want := &src.Cols[col], cur.fn.cols[col]; !sameLayout(v.Type, want.Type) {
			return fmt.Errorf("column %s is a %s, not the %s declared", want.Name, v.Type, want.Type)
		}
		w.plan(&src.Cols[col], src.N, nil)
	}
	if len(w.nodes) == 0 {
		return nil
	}
	if !C.sl_write_chunk(dst, C.uint64_t(len(cur.cols)), (*C.uint8_t)(unsafe.SliceData(cur.skip)), C.uint64_t(src.N), &w.nodes[0]) {
		return errNoMemory
	}
	w.begin()
	for _, col := range cur.cols {
		if col >= 0 {
			w.fill(&src.Cols[col], src.N)
		}
	}
	return nil
}

// sameLayout reports whether vectors of both types have the same shape in memory. Names do not matter,
// and the scan does not pay for comparing the dictionaries of enums.
func sameLayout(a, b vector.Type) bool {
	return a.Kind == b.Kind && a.Width == b.Width && a.Size == b.Size && a.Bytes() == b.Bytes() &&
		(a.Elem == nil || sameLayout(*a.Elem, *b.Elem)) &&
		slices.EqualFunc(a.Fields, b.Fields, func(f, g vector.Field) bool { return sameLayout(f.Type, g.Type) })
}
