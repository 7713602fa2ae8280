package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// retire forgets the outputs that the pipeline had and has no more. A renamed one that goes on in the same table
// keeps its record; of the others the staging table goes and the table stays, as an ordinary one.
func (s *Sink) retire(ctx context.Context, tx pgx.Tx) error {
	var there bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass('sluice.targets') IS NOT NULL").Scan(&there); err != nil || !there {
		return err
	}
	var names []string
	byTable := map[string]string{}
	for _, t := range s.targets {
		names = append(names, t.output.Name)
		byTable[t.qualified()] = t.output.Name
	}
	rows, err := tx.Query(ctx, "SELECT output, schema_name, table_name, staging FROM sluice.targets WHERE pipeline = $1 AND output <> ALL ($2) ORDER BY 1",
		s.pipeline, append([]string{}, names...))
	if err != nil {
		return err
	}
	type retired struct{ output, schema, table, staging string }
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (o retired, err error) {
		return o, r.Scan(&o.output, &o.schema, &o.table, &o.staging)
	})
	if err != nil {
		return err
	}
	for _, o := range list {
		table := pgx.Identifier{o.schema, o.table}.Sanitize()
		if _, err := tx.Exec(ctx, "DROP TABLE IF EXISTS "+pgx.Identifier{"sluice", o.staging}.Sanitize()); err != nil {
			return err
		}
		if now, renamed := byTable[table]; renamed {
			// Why keep the record: it says whether sluice created the table.
			if _, err := tx.Exec(ctx, "UPDATE sluice.targets SET output = $3, staging_layout = '' WHERE pipeline = $1 AND output = $2",
				s.pipeline, o.output, now); err != nil {
				return err
			}
			continue
		}
		if _, err := tx.Exec(ctx, "DELETE FROM sluice.targets WHERE pipeline = $1 AND output = $2", s.pipeline, o.output); err != nil {
			return err
		}
		s.warnings = append(s.warnings, fmt.Sprintf("table %s is no longer written, because view %s is gone; if nobody needs it: DROP TABLE %s", table, o.output, table))
	}
	return nil
}
