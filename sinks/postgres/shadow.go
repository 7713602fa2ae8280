package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/microbatch"
)

// A rebuild fills tables of its own, in schema sluice, under a ledger row of its own; Swap then puts them in the
// place of the pipeline's.

// ShadowName is the ledger's name for the rebuild of a pipeline. No pipeline can be called so.
func ShadowName(pipeline string) string { return pipeline + "~rebuild" }

// shadow redirects targets to the tables of a rebuild.
func (s *Sink) shadow() {
	for _, t := range s.targets {
		t.schema, t.table, t.adopt = "sluice", shadowTable(s.pipeline, t.output.Name), false
		// Why another staging table, too: the version that runs uses its own meanwhile.
		t.staging = "stg_" + shortHash(s.pipeline, t.output.Name)
	}
}

func shadowTable(shadow, output string) string { return "new_" + shortHash(shadow, output) }

// DropShadow removes what a rebuild has filled so far, if there is one.
func (s *Sink) DropShadow(ctx context.Context, pipeline string) error {
	_, err := s.Drop(ctx, ShadowName(pipeline), DropTables)
	if errors.Is(err, ErrUnknownPipeline) {
		return nil
	}
	return err
}

// CheckSwap says what Swap would refuse, before a rebuild begins: tables that are not the pipeline's alone, and
// those that have to be replaced and that something depends on. It changes nothing.
func (s *Sink) CheckSwap(ctx context.Context, pipeline string, targets []microbatch.Target, info SwapInfo) error {
	s.pipeline = pipeline
	ts, err := newTargets(pipeline, targets)
	if err != nil {
		return err
	}
	ses, err := s.connectWaiting(ctx, pipeline, "check")
	if err != nil {
		return err
	}
	defer ses.drop()
	err = pgx.BeginTxFunc(ctx, ses.Conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		for _, t := range ts {
			if _, _, err := s.place(ctx, tx, ses.version, t, info.Columns[t.output.Name]); err != nil {
				return err
			}
		}
		return nil
	})
	return explain("check whether the tables of pipeline "+pipeline+" can be swapped", err)
}

// placement is what Swap does with a table.
type placement int

const (
	makeTable    placement = iota // there is none
	keepTable                     // its rows are replaced
	replaceTable                  // it has other columns or another key
)

// place decides what to do with a target's table; d is nil if there is none. were are the columns that the version
// before wrote: one of them that is not written any more makes the table another. Columns that somebody else
// added stay.
func (s *Sink) place(ctx context.Context, tx pgx.Tx, version int, t *target, were []string) (placement, *tableDef, error) {
	d, err := t.describe(ctx, tx, version)
	if err != nil || d == nil {
		return makeTable, nil, err
	}
	var owner string
	var created bool
	err = tx.QueryRow(ctx, "SELECT pipeline, created FROM sluice.targets WHERE schema_name = $1 AND table_name = $2", t.schema, t.table).Scan(&owner, &created)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, nil, fmt.Errorf("table %s is there and belongs to no pipeline\nHint: a rebuild replaces all rows of its tables; drop it, or choose another with table = '…'", t.qualified())
	case err != nil:
		return 0, nil, err
	case owner != s.pipeline:
		return 0, nil, fmt.Errorf("table %s belongs to pipeline %s\nHint: choose another with table = '…'", t.qualified(), owner)
	case !created:
		return 0, nil, fmt.Errorf("table %s was there before the pipeline: a rebuild would also replace the rows that are not the pipeline's\n"+
			"Hint: write the new version into another table with table = '…', or run it under another --name", t.qualified())
	}
	obsolete := slices.ContainsFunc(were, func(name string) bool {
		return !slices.ContainsFunc(t.columns, func(c column) bool { return c.name == name })
	})
	if !obsolete && t.check(d, version) == nil {
		return keepTable, d, nil
	}
	rows, err := tx.Query(ctx, `SELECT DISTINCT v.oid::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND v.oid <> $1
UNION SELECT k.conrelid::regclass::text FROM pg_constraint k WHERE k.confrelid = $1 AND k.contype = 'f' AND k.conrelid <> $1 ORDER BY 1`, d.oid)
	if err != nil {
		return 0, nil, err
	}
	dependents, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err == nil && len(dependents) > 0 {
		err = fmt.Errorf("table %s gets other columns or another key, and %s depends on it\nHint: drop what depends on it, rebuild, and make it again", t.qualified(), strings.Join(dependents, ", "))
	}
	return replaceTable, d, err
}
