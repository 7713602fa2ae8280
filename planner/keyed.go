package planner

import (
	"slices"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A keyedInput is an operator's input that is kept between batches by a lookup key: its delta of this
// batch as a table, and its state, a Z-set with the key as prefix. Columns that are themselves key columns
// are stored once.
type keyedInput struct {
	c     *compiler
	delta string // table: k0…, c0…, _w; consolidated unless append-only
	state State
	keys  int
	// column names the place of input column i in both: a key column or its own.
	column []string
	types  []vector.Type
	// expires asks for state_ttl; touched is then ", … AS _at", what to add to the applied columns.
	expires bool
	touched string
	// bounded is the column that the state is evicted by, if it is not a key's; "" without.
	bounded string
}

// maxNettedColumns is up to how many columns behind the key an append-only delta is netted to distinct rows.
//
// Why not always: a row of many columns is rarely there twice, and grouping by all of them costs more than
// all that follows. The state adds the weights of equal rows up.
const maxNettedColumns = 2

// keyInput materializes a relation's delta with key expressions and lays out the state that will keep it.
// The state is applied later, by apply: rules differ in when.
func (c *compiler) keyInput(r *relation, keys []*expr, bound string) (*keyedInput, error) {
	return c.keyInputUntil(r, keys, nil, bound)
}

// keyInputUntil is keyInput with a state that is evicted by an expression over the input; nil: by none.
func (c *compiler) keyInputUntil(r *relation, keys []*expr, until *eviction, bound string) (*keyedInput, error) {
	r = r.rows()
	in, list, err := c.keyLayout(r.types, keys, bound)
	if err != nil {
		return nil, err
	}
	if until != nil {
		text, err := in.evictBy(until)
		if err != nil {
			return nil, err
		}
		list += text
	}
	in.state.Weighted, in.state.NPrefix, in.state.NKey = true, len(keys), len(in.state.Cols)
	in.state.Cols = append(in.state.Cols, vector.Field{Name: "_w", Type: vector.Of(vector.Int64)})
	in.delta = c.name("delta")
	if r.append && in.state.NKey-len(keys) > maxNettedColumns {
		return in, c.materialize(in.delta, "SELECT "+list+"1::BIGINT AS _w FROM ("+r.sql+")")
	}
	sql := "SELECT " + list + "sum(" + r.weight() + ")::BIGINT AS _w FROM (" + r.sql + ") GROUP BY " +
		ordinals(in.state.NKey) + " HAVING sum(" + r.weight() + ") <> 0"
	return in, c.materialize(in.delta, sql)
}

// keyLayout lays out columns by key: the state's columns but for its weight, and their texts over c0….
func (c *compiler) keyLayout(types []vector.Type, keys []*expr, bound string) (in *keyedInput, texts string, err error) {
	in = &keyedInput{c: c, keys: len(keys), types: types}
	keyTypes, err := c.keyTypes(keys, types)
	if err != nil {
		return nil, "", err
	}
	keyTexts, err := columns("c").list(keys)
	if err != nil {
		return nil, "", notYet("cannot print %v", err)
	}
	at := map[int]string{}
	var list strings.Builder
	in.state = State{Name: c.name("rows"), EvictColumn: -1, Bound: bound}
	for i, k := range keys {
		name := "k" + itoa(i)
		list.WriteString(keyTexts[i] + " AS " + name + ", ")
		in.state.Cols = append(in.state.Cols, vector.Field{Name: name, Type: keyTypes[i]})
		in.state.OneKey = len(keys) == 1 && k.Class == "BOUND_CONSTANT"
		if _, taken := at[int(k.Index)]; k.Class == "BOUND_REF" && !taken {
			at[int(k.Index)] = name
		}
	}
	for i, t := range types {
		name, isKey := at[i]
		if !isKey {
			name = "c" + itoa(i)
			list.WriteString("c" + itoa(i) + " AS " + name + ", ")
			in.state.Cols = append(in.state.Cols, vector.Field{Name: name, Type: t})
		}
		in.column = append(in.column, name)
	}
	return in, list.String(), nil
}

// evictBy has the state evicted by an expression: by its own column if it is one, else by one more, e0, whose
// text it returns.
func (in *keyedInput) evictBy(until *eviction) (text string, err error) {
	in.bounded, in.state.EvictSQL, in.state.Bound = "e0", until.floor, "evicted by the watermark"
	if until.by.Class == "BOUND_REF" {
		in.bounded = in.column[until.by.Index]
		in.state.EvictColumn = slices.IndexFunc(in.state.Cols, func(f vector.Field) bool { return f.Name == in.bounded })
		return "", nil
	}
	if text, err = columns("c").expr(until.by); err != nil {
		return "", notYet("cannot print %v", err)
	}
	t, err := typeOf(until.by)
	if err != nil {
		return "", notYet("%v", err)
	}
	in.state.EvictColumn = len(in.state.Cols)
	in.state.Cols = append(in.state.Cols, vector.Field{Name: "e0", Type: t})
	return text + " AS e0, ", nil
}

// keyTypes are the types of key expressions; a bare reference has its column's.
func (c *compiler) keyTypes(keys []*expr, types []vector.Type) ([]vector.Type, error) {
	var out []vector.Type
	for _, k := range keys {
		if k.Class == "BOUND_REF" {
			out = append(out, types[k.Index])
			continue
		}
		t, err := typesOf([]*expr{k})
		if err != nil {
			return nil, err
		}
		out = append(out, t[0])
	}
	return out, nil
}

// declare adds the state to the program; evict bounds it where a key has a floor.
func (in *keyedInput) declare(floors []string) error {
	for i, f := range floors {
		if in.bounded == "" && f != "" && evictable(in.state.Cols[i].Type) {
			in.state.EvictColumn, in.state.EvictSQL, in.state.Bound = i, f, "evicted by the watermark"
			break
		}
	}
	if in.expires {
		if at := in.c.expire(&in.state); at != "" {
			in.touched = ", " + at
		}
	}
	return in.c.addState(in.state)
}

// apply adds the delta to the state. What was read of the state before was the old relation, what is read
// after is the new.
func (in *keyedInput) apply() error {
	return in.c.apply(in.state.Name, "SELECT * FROM "+in.delta)
}

// keyNames is "k0, k1, …".
func (in *keyedInput) keyNames() string { return trimComma(renamedKeys(in.keys)) }

// print writes an expression over the input's columns as the delta and the state have them.
func (in *keyedInput) print(e *expr) (string, error) {
	text, err := (&printer{column: func(i int) string { return in.column[i] }}).expr(e)
	if err != nil {
		return "", notYet("cannot print %v", err)
	}
	return text, nil
}

// list is "from.column AS to0, …, " for the input's columns.
func (in *keyedInput) list(from, to string, first int) string {
	var b strings.Builder
	for i, name := range in.column {
		b.WriteString(from + name + " AS " + to + itoa(first+i) + ", ")
	}
	return b.String()
}

// fromDelta selects the delta's rows as k0…, to0…, _w.
func (in *keyedInput) fromDelta(to string) string {
	return "SELECT " + renamedKeys(in.keys) + in.list("", to, 0) + "_w FROM " + in.delta
}

// lookup selects the stored rows of the keys in a table, as k0…, to0…, _w.
func (in *keyedInput) lookup(keys, to string) string {
	return "SELECT " + renamedKeys(in.keys) + in.list("_r.", to, 0) + "_r._w AS _w FROM (SELECT " + renamedKeys(in.keys) +
		"unnest(" + in.state.Name + "_rows(" + in.keyNames() + ")) AS _r FROM " + keys + ")"
}

// touched makes a table of the distinct keys in the deltas of the inputs.
func (c *compiler) touched(inputs ...*keyedInput) (string, error) {
	var parts []string
	for _, in := range inputs {
		parts = append(parts, "SELECT DISTINCT "+in.keyNames()+" FROM "+in.delta)
	}
	table := c.name("keys")
	return table, c.materialize(table, strings.Join(parts, " UNION "))
}
