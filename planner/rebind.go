package planner

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Binder is a DuckDB connection as the planner uses it: an empty scratch instance.
type Binder interface {
	// Exec runs statements.
	Exec(ctx context.Context, sql string) error
	// Describe returns the columns of a query.
	Describe(ctx context.Context, query string) ([]vector.Field, error)
	// SerializePlan returns json_serialize_plan(query, optimize := false).
	SerializePlan(ctx context.Context, query string) ([]byte, error)
	// QueryValue returns the first column of the first row as text, false for NULL or no row.
	QueryValue(ctx context.Context, query string) (string, bool, error)
}

// rebinder checks the printer: the text printed for bound expressions, bound again, must give the same
// expressions. A difference is not an error of the user's: the query falls back to full recompute.
type rebinder struct {
	ctx    context.Context
	binder Binder
}

func (r *rebinder) check(child []vector.Type, es []*expr, aggregates bool) error {
	var todo []*expr
	for _, e := range es {
		if e.Class != "BOUND_REF" && e.Class != "SLUICE_PAD_EMPTY" && e.Class != "SLUICE_RAW" {
			todo = append(todo, e)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	texts, err := columns("c").list(todo)
	if err != nil {
		return notYet("cannot print %v", err)
	}
	if err := r.binder.Exec(r.ctx, "CREATE OR REPLACE TEMP TABLE _rebind ("+columnDefs("c", child)+")"); err != nil {
		return notYet("a column type cannot be stored: %v", err)
	}
	doc, err := r.binder.SerializePlan(r.ctx, "SELECT "+strings.Join(texts, ", ")+" FROM _rebind")
	if err != nil {
		return notYet("printing %s does not bind: %v", strings.Join(texts, ", "), err)
	}
	plan, err := decodePlan(doc)
	if err != nil {
		return notYet("printing %s does not bind: %v", strings.Join(texts, ", "), err)
	}
	got, get := plan.Expressions, plan.Children
	if aggregates || todo[0].Class == "BOUND_WINDOW" {
		got, get = plan.Children[0].Expressions, plan.Children[0].Children
	}
	if len(get) != 1 || get[0].Type != "LOGICAL_GET" || len(got) != len(todo) {
		return notYet("printing %s binds to another shape", strings.Join(texts, ", "))
	}
	for i := range got {
		got[i].walk(func(e *expr) {
			if e.Class == "BOUND_REF" {
				e.Index = get[0].ColumnIndexes[e.Index].Index
			}
		})
		if !sameExpr(got[i], todo[i]) {
			return notYet("printing %s binds to something else", texts[i])
		}
	}
	return nil
}

// columnDefs lists prefix0 TYPE, prefix1 TYPE, … for a CREATE TABLE; a relation without columns gets one.
func columnDefs(prefix string, types []vector.Type) string {
	if len(types) == 0 {
		return "_none INTEGER"
	}
	var parts []string
	for i, t := range types {
		parts = append(parts, prefix+itoa(i)+" "+t.String())
	}
	return strings.Join(parts, ", ")
}

func sameExpr(a, b *expr) bool {
	return bytes.Equal(canonical(a), canonical(b))
}

// canonical marshals an expression without what says where it was written.
func canonical(e *expr) []byte {
	raw, err := json.Marshal(e)
	if err != nil {
		panic("planner: an expression decoded from JSON cannot be encoded again: " + err.Error())
	}
	var doc any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		panic("planner: " + err.Error())
	}
	strip(doc)
	out, err := json.Marshal(foldCasts(doc))
	if err != nil {
		panic("planner: " + err.Error())
	}
	return out
}

func strip(doc any) {
	switch x := doc.(type) {
	case map[string]any:
		for _, k := range []string{"query_location", "arguments", "original_arguments", "catalog_name", "schema_name"} {
			delete(x, k)
		}
		if _, isExpr := x["expression_class"]; isExpr {
			delete(x, "alias")
			if x["expression_class"] == "BOUND_REF" {
				delete(x, "return_type")
			}
		}
		for _, v := range x {
			strip(v)
		}
	case []any:
		for _, v := range x {
			strip(v)
		}
	}
}

// foldCasts replaces casts of constants by the constants that they make: DuckDB's binder folds some of
// them, those that it adds itself, and not those that are written.
func foldCasts(doc any) any {
	switch x := doc.(type) {
	case map[string]any:
		for k, v := range x {
			x[k] = foldCasts(v)
		}
		if x["expression_class"] == "BOUND_CAST" && x["try_cast"] == false {
			return foldCast(x)
		}
	case []any:
		for i, v := range x {
			x[i] = foldCasts(v)
		}
	}
	return doc
}

func foldCast(cast map[string]any) any {
	child, _ := cast["child"].(map[string]any)
	to, _ := cast["return_type"].(map[string]any)
	value, _ := child["value"].(map[string]any)
	from, _ := value["type"].(map[string]any)
	if child["expression_class"] != "BOUND_CONSTANT" || to == nil || from == nil {
		return cast
	}
	_, number := value["value"].(json.Number)
	switch toID, fromID := to["id"], from["id"]; {
	case value["is_null"] == true:
	case toID == "BOOLEAN" && fromID == "VARCHAR" && (value["value"] == "t" || value["value"] == "f"):
		value["value"] = value["value"] == "t"
	case toID == "BOOLEAN" && fromID == "BOOLEAN":
	case number && smallIntegers[toID] && smallIntegers[fromID]:
	default:
		return cast
	}
	value["type"] = to
	return child
}

// smallIntegers are written as plain numbers; one that is out of the type's range fails to bind.
var smallIntegers = map[any]bool{"TINYINT": true, "SMALLINT": true, "INTEGER": true, "BIGINT": true, "UTINYINT": true, "USMALLINT": true, "UINTEGER": true, "UBIGINT": true}
