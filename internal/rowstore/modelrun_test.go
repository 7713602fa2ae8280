package rowstore

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/internal/vector/vectortest"
)

// A run drives tables of the same history and their model through random batches.
type run struct {
	t      *testing.T
	r      *rand.Rand
	spec   Spec
	tables []*Table // the first is compared; all must give the same deltas
	model  *model
	domain int

	// The running snapshot of the first table: what it must hold, its blocks, the deltas since.
	snapRows []*vector.Chunk
	blocks   [][]byte
	deltas   [][]byte
	snapping bool
	// base is what the last complete snapshot held: a delta snapshot is applied to a copy of it.
	base    []*vector.Chunk
	isDelta bool

	held []heldChunk
}

// A heldChunk is an answer kept to the end of the batch, and a deep copy of it from when it was new.
type heldChunk struct{ shared, copied *vector.Chunk }

func newTable(t *testing.T, r *rand.Rand, spec Spec) *Table {
	t.Helper()
	tab, err := New(spec)
	if err != nil {
		t.Fatalf("%+v: %v", spec, err)
	}
	// Hashes of which 0, 2, 4 or all bits count: keys share entries, tags and shards.
	tab.collide = []uint64{0, ^uint64(1<<63 | 1<<50), ^uint64(1<<57 | 1<<56 | 1<<27 | 1<<26), ^uint64(0)}[r.IntN(4)]
	// Small blocks, so that few rows fill, thin and merge many.
	tab.blocks.shift = uint(1 + r.IntN(4))
	tab.blocks.rows = 1 << tab.blocks.shift
	tab.blocks.bytes = tab.blocks.rows * tab.blocks.slot
	tab.partRows = 1 + r.IntN(8)
	return tab
}

func TestModel(t *testing.T) {
	n := 100
	if testing.Short() {
		n = 30
	}
	for seed := range n {
		modelRun(t, uint64(seed))
		if t.Failed() {
			t.Fatalf("failed with seed %d", seed)
		}
	}
}

func FuzzModel(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(modelRun)
}

func modelRun(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 3))
	spec := randomSpec(r)
	if spec.Validate() != nil {
		return
	}
	types := make([]vector.Type, len(spec.Cols))
	for i, f := range spec.Cols {
		types[i] = f.Type
	}
	d := &run{t: t, r: r, spec: spec, model: &model{spec: spec, types: types}, domain: 1 + r.IntN(30)}
	d.tables = []*Table{newTable(t, r, spec), newTable(t, r, spec)}
	for range 40 {
		d.batch()
		d.snapshot()
		if t.Failed() {
			t.Logf("spec %+v", spec)
			return
		}
	}
	for _, tab := range d.tables {
		tab.SnapshotAbort()
		checkArena(t, tab)
		tab.Close()
	}
}

// checkArena empties the table: then no text may be in use, or one has leaked.
func checkArena(t *testing.T, tab *Table) {
	t.Helper()
	for next := tab.Scan(); ; {
		c := next()
		if c == nil {
			break
		}
		tab.deleteKeys(c)
	}
	tab.Commit()
	if s := tab.Stats(); s.Rows != 0 || s.ArenaBytes != 0 || len(tab.blocks.free) < len(tab.blocks.bases)-1 {
		t.Errorf("an emptied table holds %d rows, %d bytes of text, %d of %d blocks", s.Rows, s.ArenaBytes,
			tab.blocks.used(), len(tab.blocks.bases))
	}
}

// rows returns random rows, about half of them with the key of a row that exists.
func (d *run) rows(n int) *vector.Chunk {
	c := vectortest.Chunk(d.r, d.model.types, n, d.domain)
	if len(d.model.rows) == 0 {
		return c
	}
	var picked []*vector.Chunk
	for i := range n {
		row := vector.Gather(c, []int32{int32(i)})
		if d.r.IntN(2) == 0 {
			have := d.model.rows[d.r.IntN(len(d.model.rows))]
			copy(row.Cols[:d.spec.NKey], have.Cols[:d.spec.NKey])
			row.Keep = append(row.Keep, have)
		}
		picked = append(picked, row)
	}
	return concat(d.model.types, picked)
}

func (d *run) batch() {
	before := d.model.clone()
	d.held = nil
	for range d.r.IntN(6) {
		d.change()
		d.get()
		d.prefixes()
	}
	for _, h := range d.held {
		if !bytes.Equal(vector.AppendChunk(nil, h.shared), vector.AppendChunk(nil, h.copied)) {
			d.t.Error("an answer changed within the batch")
		}
	}
	if d.r.IntN(4) == 0 {
		d.model = before
		for _, tab := range d.tables {
			tab.Rollback()
		}
	} else {
		d.commit()
	}
	d.compare(d.tables[0], d.model.rows)
}

func (d *run) change() {
	c := d.rows(d.r.IntN(25))
	switch {
	case d.spec.EvictColumn >= 0 && d.r.IntN(4) == 0:
		bound := int64(d.r.IntN(d.domain+2)) - 2
		due := d.model.due(bound)
		want := d.model.evict(bound)
		for _, tab := range d.tables {
			if got := dueRows(tab, bound); !slices.Equal(got, due) {
				d.t.Errorf("Due(%d) gave %q, want %q", bound, got, due)
			}
			if got := tab.Evict(bound); got != want {
				d.t.Errorf("Evict(%d) deleted %d rows, want %d", bound, got, want)
			}
		}
	case d.spec.Weighted:
		d.weigh(c)
		d.model.add(c)
		for _, tab := range d.tables {
			tab.Add(c)
		}
	default:
		live := make([]bool, c.N)
		for i := range live {
			live[i] = d.r.IntN(3) > 0
		}
		d.model.upsert(c, live)
		for _, tab := range d.tables {
			tab.Upsert(c, live)
		}
	}
}

// dueRows lists what Due gives, bit for bit.
func dueRows(tab *Table, bound int64) []string {
	var out []string
	next := tab.Due(bound)
	for c := next(); c != nil; c = next() {
		for i := range c.N {
			out = append(out, rowBytes(c, i, len(c.Cols)))
		}
	}
	return out
}

// weigh sets weights that never make a row's weight negative.
func (d *run) weigh(c *vector.Chunk) {
	w := &c.Cols[d.spec.NKey]
	w.Valid = nil
	m := d.model.clone()
	for i := range c.N {
		have := int64(0)
		if at := m.find(c, i, d.spec.NKey); at >= 0 {
			have = m.rows[at].Cols[d.spec.NKey].I64(0)
		}
		w.PutI64(i, []int64{-have, 0, 1, 2}[d.r.IntN(4)])
		m.add(c.Slice(i, i+1))
	}
}

func (d *run) get() {
	keys := d.rows(d.r.IntN(10))
	keys.Cols = keys.Cols[:d.spec.NKey]
	rows, found := d.tables[0].Get(keys)
	for i := range keys.N {
		at := d.model.find(keys, i, d.spec.NKey)
		if found[i] != (at >= 0) {
			d.t.Errorf("Get: found %v, want %v", found[i], at >= 0)
		} else if at >= 0 && rowBytes(rows, i, len(rows.Cols)) != rowBytes(d.model.rows[at], 0, len(rows.Cols)) {
			d.t.Error("Get: wrong row")
		}
	}
	d.hold(rows)
}

func (d *run) prefixes() {
	prefix := d.rows(d.r.IntN(6))
	prefix.Cols = prefix.Cols[:d.spec.NPrefix]
	rows, start := d.tables[0].Rows(prefix)
	for i := range prefix.N {
		var want, got []string
		for _, row := range d.model.rows {
			if vector.EqualRows(row, 0, prefix, i, columns(d.spec.NPrefix)) {
				want = append(want, rowBytes(row, 0, len(row.Cols)))
			}
		}
		for j := start[i]; j < start[i+1]; j++ {
			got = append(got, rowBytes(rows, j, len(rows.Cols)))
		}
		if !slices.Equal(want, got) {
			d.t.Errorf("Rows: %d rows, want %d, or in another order", len(got), len(want))
		}
	}
	d.hold(rows)
}

// hold keeps an answer's texts, but not its reused buffers.
func (d *run) hold(c *vector.Chunk) {
	all := make([]int32, c.N)
	for i := range all {
		all[i] = int32(i)
	}
	d.held = append(d.held, heldChunk{vector.Gather(c, all), c.Clone()})
}

func (d *run) commit() {
	delta := d.tables[0].Delta(nil)
	rows, sum := d.tables[0].DeltaDigest()
	for _, tab := range d.tables[1:] {
		if !bytes.Equal(tab.Delta(nil), delta) {
			d.t.Error("the same batch gave another delta")
		}
		if r, s := tab.DeltaDigest(); r != rows || s != sum {
			d.t.Errorf("the same batch gave digest %d %s, want %d %s", r, s, rows, sum)
		}
	}
	for _, tab := range d.tables {
		tab.Commit()
	}
	if d.snapping {
		d.deltas = append(d.deltas, delta)
	}
}

func (d *run) compare(tab *Table, want []*vector.Chunk) {
	d.t.Helper()
	n := 0
	for next := tab.Scan(); ; {
		c := next()
		if c == nil {
			break
		}
		for i := range c.N {
			if n >= len(want) || rowBytes(c, i, len(c.Cols)) != rowBytes(want[n], 0, len(c.Cols)) {
				d.t.Fatalf("row %d differs from the model's (%d rows)", n, len(want))
			}
			n++
		}
	}
	if n != len(want) || tab.Stats().Rows != int64(n) {
		d.t.Fatalf("%d rows, Stats says %d, want %d", n, tab.Stats().Rows, len(want))
	}
}

// snapshot moves a snapshot on by a step; when it is complete, it and the deltas since must rebuild the
// table, which then at times takes the first one's place, as a recovery does.
func (d *run) snapshot() {
	first := d.tables[0]
	if !d.snapping {
		if d.r.IntN(4) == 0 {
			if d.isDelta = first.Tracks() && d.r.IntN(4) > 0; d.isDelta {
				first.SnapshotBeginDelta()
			} else {
				first.SnapshotBegin()
			}
			d.snapping, d.snapRows, d.blocks, d.deltas = true, slices.Clone(d.model.rows), nil, nil
		} else if d.r.IntN(10) == 0 {
			first.StopTracking()
		}
		return
	}
	if d.r.IntN(20) == 0 {
		first.SnapshotAbort()
		d.snapping = false
		if first.Tracks() {
			d.t.Error("changes since a snapshot that was given up are tracked")
		}
		return
	}
	rows := 1 + d.r.IntN(12)
	block, done := first.SnapshotNext(nil, rows)
	if first.snap.visited > rows*visitsPerRow {
		d.t.Errorf("a slice of %d rows looked at %d slots", rows, first.snap.visited)
	}
	if d.blocks = append(d.blocks, block); !done {
		return
	}
	d.snapping = false
	tab := newTable(d.t, d.r, d.spec)
	if d.isDelta {
		tab.upsert(concat(d.model.types, d.base), nil)
		tab.Commit()
	}
	for _, b := range d.blocks {
		load := tab.Load
		if d.isDelta {
			load = tab.ApplyDelta
		}
		if err := load(b); err != nil {
			d.t.Fatal(err)
		}
	}
	d.compare(tab, d.snapRows)
	d.base = d.snapRows
	tab.TrackChanges()
	for _, b := range d.deltas {
		for range 1 + d.r.IntN(2) {
			if err := tab.ApplyDelta(b); err != nil {
				d.t.Fatal(err)
			}
		}
	}
	d.compare(tab, d.model.rows)
	old := tab
	if d.r.IntN(2) == 0 {
		old, d.tables[0] = first, tab
	}
	checkArena(d.t, old)
	old.Close()
}
