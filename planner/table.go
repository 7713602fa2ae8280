package planner

import "github.com/sluice-sql/sluice/planner/ddl"

// CREATE TABLE is a relation that lives elsewhere and that streams are joined with. To the planner it is a
// source, so that the one guarantee covers it: a view equals its query over the streams' prefix and the
// version of the table that the ledger names. There is no lookup "as of now" that nobody could check.
//
// A static table is read whole before the first row of any stream and never changes afterwards; that lets
// staticjoin.go drop the state of the other side of a join.

// staticConnectors give tables that do not change. What else there is, the command knows and refuses.
var staticConnectors = map[string]bool{"file": true}

// lookupConnector gives tables whose rows change, with weights.
const lookupConnector = "postgres_lookup"

// captureConnector gives the changes of a database's table, with weights.
const captureConnector = "postgres_cdc"

// table declares a table as a source.
func (p *planning) table(st *ddl.Table) error {
	decl := &ddl.Source{Name: st.Name, IfNotExists: st.IfNotExists, Columns: st.Columns, PrimaryKey: st.PrimaryKey, With: st.With, Span: st.Span}
	if err := p.source(decl); err != nil {
		return err
	}
	connector, _ := st.With.Lookup("connector")
	p.out.Sources[len(p.out.Sources)-1].Table = true
	in := p.inputs[st.Name.Name]
	in.Table, in.Static = true, staticConnectors[connector.Value]
	if connector.Value == lookupConnector {
		in.about = aboutLookup(st)
	}
	return nil
}

// aboutLookup says for explain which table it is and how old its version may be.
func aboutLookup(st *ddl.Table) string {
	about := "Postgres table " + st.Name.Name
	if name, ok := st.With.Lookup("table"); ok {
		about = "Postgres table " + name.Display()
	}
	if _, ok := st.With.Lookup("query"); ok {
		about = "a Postgres query"
	}
	if every, ok := st.With.Lookup("refresh"); ok {
		return about + ", read again every " + every.Display()
	}
	return about + ", read when the engine starts"
}
