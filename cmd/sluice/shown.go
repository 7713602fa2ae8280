package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/oracle"
	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/microbatch"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

// shownViews are a pipeline's views as readers see them, a part a sink: each has a ledger of its own, and while
// a batch is being committed one is ahead of the other.
type shownViews struct {
	parts []*shownPart // the oldest ledger first
	late  map[lateRow]bool
	times []postgres.BatchTime // of pipelines with a batch_time column
}

// A shownPart is what one sink shows of the prefix that its ledger names.
type shownPart struct {
	where   string // a directory, or "" for PostgreSQL and Kafka
	topic   string // or "" for what is not in Kafka
	ledger  microbatch.Ledger
	outputs []planner.Output
	rows    [][]*vector.Chunk // by output, without weights
}

// lateRow identifies a dead letter.
type lateRow struct {
	source, partition string
	offset            int64
}

// readShown reads every sink. The scratch directory holds what has to be unpacked.
func (o *verifyOptions) readShown(ctx context.Context, l *loaded, dir pipelineDir, rec record, scratch string) (_ *shownViews, err error) {
	s := &shownViews{late: map[lateRow]bool{}}
	if l.needsPostgres() {
		db, err := o.recordedDatabase(ctx, o.postgres, dir, rec)
		if err != nil {
			return nil, err
		}
		err = s.readTables(ctx, l, db)
		if err = errors.Join(err, db.Close()); err != nil {
			return nil, err
		}
	}
	for _, b := range l.fileSinks() {
		if err := s.readFiles(ctx, l, b, scratch); err != nil {
			return nil, err
		}
	}
	for _, b := range l.kafkaSinks() {
		if err := s.readTopic(ctx, l, b); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(s.parts, func(a, b *shownPart) int { return int(a.ledger.Batch - b.ledger.Batch) })
	return s, nil
}

func (s *shownViews) readTables(ctx context.Context, l *loaded, db *database) (err error) {
	t := &shownPart{}
	for _, target := range l.targets(toPostgres) {
		t.outputs = append(t.outputs, target.Output)
	}
	t.rows = make([][]*vector.Chunk, len(t.outputs))
	sink, err := postgres.New(postgres.Options{URL: db.url})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	err = sink.ReadSnapshot(ctx, l.Name, t.outputs, func(ledger microbatch.Ledger, i int, c *vector.Chunk) error {
		t.ledger = ledger
		t.rows[i] = append(t.rows[i], expand(c)...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the tables: %w", err)
	}
	s.parts = append(s.parts, t)
	if l.hasBatchTime() {
		if s.times, err = sink.ReadBatchTimes(ctx, l.Name, t.ledger.Batch); err != nil {
			return err
		}
	}
	return s.readLate(ctx, l.Name, t.ledger.Batch, db.url)
}

// hasBatchTime says that a source has the batch's time as a column.
func (l *loaded) hasBatchTime() bool {
	return slices.ContainsFunc(l.plan.Program.Sources, func(s planner.SourceInput) bool { return len(s.BatchTime) > 0 })
}

// readLate lists the late rows up to the ledger's batch. It is a transaction of its own and yet of the same
// prefix: rows of a committed batch are never added to later.
func (s *shownViews) readLate(ctx context.Context, pipeline string, batch int64, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("read the dead letters: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `SELECT source, partition, "offset" FROM sluice.dead_letter
WHERE pipeline = $1 AND batch <= $2 AND starts_with(reason, 'late:')`, pipeline, batch)
	if err != nil {
		return fmt.Errorf("read the dead letters: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r lateRow
		if err := rows.Scan(&r.source, &r.partition, &r.offset); err != nil {
			return fmt.Errorf("read the dead letters: %w", err)
		}
		s.late[r] = true
	}
	return rows.Err()
}

// addLate notes the late rows among the dead letters that a file sink keeps.
func (s *shownViews) addLate(letters []microbatch.DeadLetter) {
	for _, d := range letters {
		if strings.HasPrefix(d.Reason, "late:") {
			s.late[lateRow{d.Source, d.Partition, d.Offset}] = true
		}
	}
}

// compare lets the sink normalize the answer where Postgres does not keep every value as DuckDB has it.
func (t *shownPart) compare(ctx context.Context, one *oracle.OneShot, out planner.Output, rows []*vector.Chunk) (*oracle.Difference, error) {
	for _, c := range out.Columns {
		if t.where+t.topic == "" && changesInPostgres(c.Type) {
			return one.CompareNormalized(ctx, out.Name, rows, func(c *vector.Chunk) (*vector.Chunk, error) { return postgres.Normalize(out, c) })
		}
	}
	return one.Compare(ctx, out.Name, rows)
}

// changesInPostgres says that values of the type come back otherwise, as postgres.Normalize describes.
func changesInPostgres(t vector.Type) bool {
	return t.Kind == vector.Map || t.Kind == vector.TimestampNS || t.Kind == vector.TimeNS || slices.ContainsFunc(t.ChildTypes(), changesInPostgres)
}
