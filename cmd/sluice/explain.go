package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

type explainOptions struct {
	*app
	file string
	json bool
	dot  bool
}

func (a *app) explainCommand() *cobra.Command {
	o := &explainOptions{app: a}
	cmd := &cobra.Command{
		Use:     "explain FILE.sql",
		GroupID: "look",
		Short:   "Show how a pipeline is maintained: operators, state, and the SQL of a batch",
		Long: `Show the incremental program of a pipeline.

Each view is a tree of operators, the output on top. Beside an operator stand its class (linear, stateful,
touched-partition or full), its changelog mode and its key; below it what it computes, and its state: how a batch reads it
and what bounds it. A line that begins with "!" says that batches cost more the more state there is. What views share is
shown once. Then come the state tables and the statements that run in every batch. Nothing is read but the file.

--dot prints a graph for Graphviz.`,
		Example: `  sluice explain flights.sql
  sluice explain flights.sql --json | jq '.views[].fallback'
  sluice explain flights.sql --dot | dot -Tsvg > flights.svg`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			return o.run(cmd.Context())
		},
		ValidArgsFunction: sqlFiles,
	}
	jsonFlag(cmd, &o.json)
	cmd.Flags().BoolVar(&o.dot, "dot", false, "print the plan as a graph in Graphviz's language")
	cmd.MarkFlagsMutuallyExclusive("dot", "json")
	return cmd
}

// planReport is what explain --json prints.
type planReport struct {
	Name        string         `json:"name"`
	Fingerprint string         `json:"fingerprint"`
	Sources     []sourceReport `json:"sources"`
	Views       []viewReport   `json:"views"`
	States      []stateReport  `json:"states"`
	Steps       []stepReport   `json:"steps"`
}

type sourceReport struct {
	Name      string         `json:"name"`
	Connector string         `json:"connector"`
	Columns   []columnReport `json:"columns"`
}

type columnReport struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

type viewReport struct {
	Name    string           `json:"name"`
	Query   string           `json:"query"`
	Columns []columnReport   `json:"columns"`
	Mode    string           `json:"mode"`
	Key     []string         `json:"key,omitempty"`
	Plan    *planner.Explain `json:"plan"`
	// Fallback says why the view is recomputed in full; absent if it is not.
	Fallback string `json:"fallback,omitempty"`
}

type stateReport struct {
	Name    string         `json:"name"`
	Columns []columnReport `json:"columns"`
	Key     int            `json:"key_columns"`
	// Access is how a batch reads the state; empty if it only writes to it.
	Access string `json:"access"`
	Bound  string `json:"bound"`
	// Evicted is when a row is dropped; Never says why none ever is.
	Evicted string `json:"evicted,omitempty"`
	Never   string `json:"never_evicted,omitempty"`
}

type stepReport struct {
	Kind   string `json:"kind"`
	Target string `json:"target"`
	SQL    string `json:"sql"`
}

func (o *explainOptions) run(ctx context.Context) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	s, err := o.readSpec(o.file, "")
	if err != nil {
		return err
	}
	l, err := o.load(ctx, s)
	if err != nil {
		return orInterrupted(ctx, err)
	}
	if o.dot {
		return planner.WriteDot(o.streams.Out, l.plan)
	}
	if !o.json {
		return planner.WriteExplain(o.streams.Out, l.plan)
	}
	return o.writeJSON(l.planReport())
}

func (l *loaded) planReport() planReport {
	r := planReport{Name: l.Name, Fingerprint: l.plan.Program.Fingerprint, States: []stateReport{}}
	for _, b := range l.sources {
		r.Sources = append(r.Sources, sourceReport{b.Name, b.connector, columnReports(b.Columns)})
	}
	for _, v := range l.plan.Views {
		view := viewReport{Name: v.Name, Query: v.Query, Columns: columnReports(v.Columns), Plan: v.Explain, Fallback: v.Fallback}
		for _, out := range l.plan.Program.Outputs {
			if out.Name != v.Name {
				continue
			}
			view.Mode = out.Mode.String()
			for _, k := range out.Key {
				view.Key = append(view.Key, out.Columns[k].Name)
			}
		}
		r.Views = append(r.Views, view)
	}
	for _, st := range l.plan.Program.States {
		r.States = append(r.States, stateReport{st.Name, columnReports(st.Cols), st.NKey, l.plan.Program.Access(st), st.Bound, st.Evicted(), st.Never})
	}
	for _, st := range l.plan.Program.Steps {
		r.Steps = append(r.Steps, stepReport{st.Kind.String(), st.Target, st.SQL})
	}
	return r
}

func columnReports(fields []vector.Field) []columnReport {
	out := make([]columnReport, len(fields))
	for i, f := range fields {
		out[i] = columnReport{f.Name, f.Type.String()}
	}
	return out
}
