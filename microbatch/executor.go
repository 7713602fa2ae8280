package microbatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/internal/duck"
	"github.com/sluice-sql/sluice/internal/rowstore"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// An Executor runs a program's steps on a DuckDB instance of its own and owns the program's state. It
// is one pinned connection with one thread, so that the same input gives the same bits. One goroutine
// uses it at a time.
type Executor struct {
	program *planner.Program
	db      *duck.DB
	conn    *duck.Conn
	inputs  map[string]*duck.Input
	states  map[string]*rowstore.Table
	outputs map[string]int // output name → index
	// weighted tells Z-set states from keyed ones.
	weighted map[string]bool
	// ignored are states of views that are gone; what a log has of them is passed over.
	ignored []string
	// bounds holds the states that are evicted, with this batch's bound.
	bounds map[string]*boundState
}

// boundState is a state with the bound below which it is evicted at the end of the batch.
type boundState struct {
	*rowstore.Table
	bound int64
	known bool // false while a watermark is missing
}

// Due implements duck.DueState.
func (s *boundState) Due() func() *vector.Chunk {
	if !s.known {
		return func() *vector.Chunk { return nil }
	}
	return s.Table.Due(s.bound)
}

// ExecutorOptions size an executor.
type ExecutorOptions struct {
	// MemoryLimit bounds DuckDB, as DuckDB writes sizes ('2GB'). Defaults to DuckDB's own limit.
	MemoryLimit string
	// Ignored are states that a log may hold and that are not restored. Defaults to none.
	Ignored []string
	// TempDir is where DuckDB spills. Defaults to not spilling.
	TempDir string
}

// NewExecutor prepares an executor with empty state.
func NewExecutor(ctx context.Context, program *planner.Program, o ExecutorOptions) (_ *Executor, err error) {
	db, err := duck.Open(duck.Options{MemoryLimit: o.MemoryLimit, TempDir: o.TempDir, Threads: 1, Locked: true})
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	x := &Executor{program: program, db: db, inputs: map[string]*duck.Input{}, states: map[string]*rowstore.Table{}, outputs: map[string]int{}, weighted: map[string]bool{},
		bounds: map[string]*boundState{}, ignored: o.Ignored}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.Close())
		}
	}()
	if x.conn, err = db.Connect(); err != nil {
		return nil, fmt.Errorf("connect to DuckDB: %w", err)
	}
	for _, s := range program.Sources {
		if x.inputs[s.Name], err = x.conn.RegisterInput("in_"+s.Name, s.Fields()); err != nil {
			return nil, fmt.Errorf("register source %q: %w", s.Name, err)
		}
	}
	for _, s := range program.States {
		if err := x.addState(s); err != nil {
			return nil, fmt.Errorf("register state %s: %w", s.Name, err)
		}
	}
	for _, sql := range program.Setup {
		if err := x.conn.Exec(ctx, sql); err != nil {
			return nil, fmt.Errorf("set up the program: %w\n%s", err, sql)
		}
	}
	for i, o := range program.Outputs {
		x.outputs[o.Name] = i
	}
	return x, nil
}

func (x *Executor) addState(s planner.State) error {
	t, err := rowstore.New(rowstore.Spec{Name: s.Name, Cols: s.Cols, NKey: s.NKey, NPrefix: s.NPrefix, Weighted: s.Weighted, EvictColumn: s.EvictColumn})
	if err != nil {
		return err
	}
	x.states[s.Name], x.weighted[s.Name] = t, s.Weighted
	if s.EvictColumn >= 0 {
		x.bounds[s.Name] = &boundState{Table: t}
		return x.conn.RegisterState(s.Name, s.Cols, s.NKey, s.NPrefix, x.bounds[s.Name])
	}
	return x.conn.RegisterState(s.Name, s.Cols, s.NKey, s.NPrefix, t)
}

// Close frees DuckDB and the state.
func (x *Executor) Close() error {
	var errs []error
	if x.conn != nil {
		errs = append(errs, x.conn.Close())
	}
	errs = append(errs, x.db.Close())
	for _, t := range x.states {
		t.Close()
	}
	return errors.Join(errs...)
}

// SetInput gives the batch's accepted rows, by source.
func (x *Executor) SetInput(in map[string][]*vector.Chunk) {
	for name, input := range x.inputs {
		input.Set(in[name])
	}
}

// Run executes the program over the input and returns the outputs' deltas in the program's order. State
// changes stay open until Commit or Rollback; after an error only Rollback may follow.
func (x *Executor) Run(ctx context.Context, times planner.Times) (_ []OutputDelta, err error) {
	defer recoverInvariant(&err)
	literals := planner.Placeholders(x.program.Sources, times)
	if err := x.setBounds(ctx, literals); err != nil {
		return nil, err
	}
	out := make([]OutputDelta, len(x.program.Outputs))
	for i, o := range x.program.Outputs {
		out[i].Name = o.Name
	}
	for i := range x.program.Steps {
		s := &x.program.Steps[i]
		if planner.HasPlaceholder(s.SQL) {
			now := *s
			now.SQL = literals.Replace(s.SQL)
			s = &now
		}
		if err := x.step(ctx, s, out); err != nil {
			return nil, fmt.Errorf("step %d, %s %s: %w", i, s.Kind, s.Target, err)
		}
	}
	for i := range out {
		out[i].seal()
	}
	return out, nil
}

// recoverInvariant turns the row store's refusal of an impossible change into an error: it means a defect
// of the plan, and stops this pipeline, not the process.
func recoverInvariant(err *error) {
	switch e := recover().(type) {
	case nil:
	case *rowstore.InvariantError:
		*err = fmt.Errorf("the program broke an invariant of its state: %w", e)
	default:
		panic(e)
	}
}

func (x *Executor) step(ctx context.Context, s *planner.Step, out []OutputDelta) error {
	switch s.Kind {
	case planner.Materialize:
		return x.conn.Exec(ctx, "CREATE OR REPLACE TEMP TABLE "+s.Target+" AS "+s.SQL)
	case planner.Apply:
		return x.apply(ctx, s)
	case planner.Emit:
		chunks, _, err := x.conn.Collect(ctx, s.SQL)
		o := &out[x.outputs[s.Target]]
		o.Chunks = append(o.Chunks, chunks...)
		return err
	case planner.Check:
		return x.check(ctx, s)
	}
	panic(fmt.Sprintf("microbatch: step kind %d", s.Kind))
}

// A MissingRowError says that a source with weights deletes a row that is not there: by an earlier change it
// is gone, or it never was. There is no right answer to go on with, so the batch does not happen.
type MissingRowError struct {
	Source string
	// Partition and Offset tell which record; Partition is empty until the loop fills it in.
	Partition string
	Offset    int64
	ordinal   int
}

func (e *MissingRowError) Error() string {
	return fmt.Sprintf("source %q deletes a row that is not there: %s, offset %d\n"+
		"Detail: without a key, a change deletes the row that equals it in every column, and each copy of it once\n"+
		"Hint: declare PRIMARY KEY (…) NOT ENFORCED on the source, if its rows have one: a change then replaces the row of its key whatever was there", e.Source, e.Partition, e.Offset)
}

// check runs a step that must find nothing.
func (x *Executor) check(ctx context.Context, s *planner.Step) error {
	chunks, _, err := x.conn.Collect(ctx, s.SQL)
	if err != nil || len(chunks) == 0 || chunks[0].N == 0 {
		return err
	}
	seq := chunks[0].Cols[0].I64(0)
	return &MissingRowError{Source: s.Target, Offset: seq & (1<<SeqPartitionShift - 1), ordinal: int(seq >> SeqPartitionShift)}
}

// apply feeds a step's rows to its state.
func (x *Executor) apply(ctx context.Context, s *planner.Step) error {
	t := x.states[s.Target]
	rows, err := x.conn.Query(ctx, s.SQL)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		c := rows.Chunk()
		if x.weighted[s.Target] {
			t.Add(c)
			continue
		}
		last := len(c.Cols) - 1
		live := make([]bool, c.N)
		for i := range live {
			live[i] = c.Cols[last].Bool(i)
		}
		t.Upsert(&vector.Chunk{N: c.N, Cols: c.Cols[:last], Keep: c.Keep}, live)
	}
	return rows.Err()
}

// setBounds computes below what each state will be evicted, in one statement.
func (x *Executor) setBounds(ctx context.Context, literals *strings.Replacer) error {
	var states []*boundState
	var list []string
	for _, s := range x.program.States {
		if s.EvictColumn >= 0 {
			states = append(states, x.bounds[s.Name])
			list = append(list, "CAST(("+literals.Replace(s.EvictSQL)+") AS "+s.Cols[s.EvictColumn].Type.String()+")")
		}
	}
	if len(states) == 0 {
		return nil
	}
	chunks, _, err := x.conn.Collect(ctx, "SELECT "+strings.Join(list, ", "))
	if err != nil {
		return fmt.Errorf("compute what the watermark evicts: %w", err)
	}
	for i, s := range states {
		col := &chunks[0].Cols[i]
		if s.known = !col.IsNull(0); s.known {
			s.bound = nativeTime(col, 0)
		}
	}
	return nil
}

// Evict drops the state that the watermarks given to Run prove dead.
func (x *Executor) Evict() {
	for _, s := range x.program.States {
		if b := x.bounds[s.Name]; b != nil && b.known {
			b.Table.Evict(b.bound)
		}
	}
}

// nativeTime reads a DATE or TIMESTAMP in its own unit.
func nativeTime(v *vector.Vector, i int) int64 {
	if v.Type.Bytes() == 4 {
		return int64(v.I32(i))
	}
	return v.I64(i)
}

// Delta returns the encoded state changes since the last Commit and their digests.
func (x *Executor) Delta() (map[string][]byte, []checkpointlog.StateDigest) {
	delta := map[string][]byte{}
	var digests []checkpointlog.StateDigest
	for _, s := range x.program.States {
		t := x.states[s.Name]
		rows, sum := t.DeltaDigest()
		digests = append(digests, checkpointlog.StateDigest{State: s.Name, Rows: rows, Sum: sum})
		if b := t.Delta(nil); len(b) > 0 {
			delta[s.Name] = b
		}
	}
	return delta, digests
}

// Commit makes the batch's state changes final.
func (x *Executor) Commit() {
	for _, t := range x.states {
		t.Commit()
	}
}

// Size is how many rows the state holds, and how many bytes they take.
func (x *Executor) Size() (rows, bytes int64) {
	for _, t := range x.states {
		s := t.Stats()
		rows += s.Rows
		bytes += s.Bytes
	}
	return rows, bytes
}

// Waiting is how many rows wait for their window to close.
func (x *Executor) Waiting() (rows int64) {
	for _, s := range x.program.States {
		if s.Waiting {
			rows += x.states[s.Name].Stats().Rows
		}
	}
	return rows
}

// Rollback undoes the batch's state changes.
func (x *Executor) Rollback() {
	for _, t := range x.states {
		t.Rollback()
	}
}

// ApplyDelta replays the state changes of a logged batch.
func (x *Executor) ApplyDelta(delta map[string][]byte) error {
	for name, b := range delta {
		t, ok := x.states[name]
		if !ok && slices.Contains(x.ignored, name) {
			continue
		}
		if !ok {
			return fmt.Errorf("the log changes state %s, which the plan does not have", name)
		}
		if err := t.ApplyDelta(b); err != nil {
			return fmt.Errorf("restore state %s: %w", name, err)
		}
	}
	x.Commit()
	return nil
}

// SnapshotLoader restores a snapshot.
func (x *Executor) SnapshotLoader() checkpointlog.SnapshotLoader {
	return checkpointlog.SnapshotLoader{
		Full: x.into(func(t *rowstore.Table, b []byte) (func() error, error) {
			rows, err := t.DecodeBlock(b)
			return func() error { return t.LoadBlock(rows) }, err
		}),
		Delta: x.into(func(t *rowstore.Table, b []byte) (func() error, error) {
			d, err := t.DecodeDelta(b)
			return func() error { t.Apply(d); return nil }, err
		}),
	}
}

// into finds the table of a snapshot's block.
func (x *Executor) into(load func(*rowstore.Table, []byte) (func() error, error)) func(string, []byte) (func() error, error) {
	return func(name string, b []byte) (func() error, error) {
		t, ok := x.states[name]
		if !ok && slices.Contains(x.ignored, name) {
			return func() error { return nil }, nil
		}
		if !ok {
			return nil, fmt.Errorf("the snapshot holds state %s, which the plan does not have", name)
		}
		return load(t, b)
	}
}

// seal counts and digests a finished delta.
func (o *OutputDelta) seal() {
	var d vector.Digest
	for _, c := range o.Chunks {
		d.AddChunk(c)
		o.Rows += int64(c.N)
	}
	o.Digest = checkpointlog.OutputDigest{Output: o.Name, Rows: o.Rows, Sum: d.String()}
}

// StateRows is how many rows a state holds.
func (x *Executor) StateRows(name string) int64 { return x.states[name].Stats().Rows }
