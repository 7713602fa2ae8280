package main

import (
	"context"
	"errors"

	"github.com/sluice-sql/sluice/checkpointlog"
	"github.com/sluice-sql/sluice/microbatch"
	filesink "github.com/sluice-sql/sluice/sinks/file"
	kafkasink "github.com/sluice-sql/sluice/sinks/kafka"
	"github.com/sluice-sql/sluice/sinks/postgres"
)

// ledgers reads what every durable sink of a pipeline says, and takes nothing over.
func (o *repairOptions) ledgers(ctx context.Context, dir string) (out []checkpointlog.SinkFacts, err error) {
	l, at, rec, err := o.reload(ctx, o.state, dir)
	if err != nil {
		return nil, err
	}
	if l.needsPostgres() {
		db, err := o.recordedDatabase(ctx, o.postgres, at, rec)
		if err != nil {
			return nil, err
		}
		ledger, err := readLedger(ctx, db.url, l.Name)
		if err = errors.Join(err, db.Close()); err != nil {
			return nil, err
		}
		out = append(out, sinkFacts("PostgreSQL", ledger))
	}
	for _, b := range l.fileSinks() {
		sink, err := filesink.New(b.files)
		if err != nil {
			return nil, err
		}
		var ledger microbatch.Ledger
		shown, err := sink.Read(ctx, l.Name)
		if err == nil {
			ledger = shown.Ledger
		} else if !errors.Is(err, filesink.ErrUnknownPipeline) {
			return nil, err
		}
		out = append(out, sinkFacts("directory "+b.files.Dir, ledger))
	}
	for _, b := range l.kafkaSinks() {
		sink, err := kafkasink.New(b.kafka)
		if err != nil {
			return nil, err
		}
		ledger, err := sink.ReadLedger(ctx, l.Name)
		if errors.Is(err, kafkasink.ErrUnknownPipeline) {
			err = nil
		}
		if err = errors.Join(err, sink.Close()); err != nil {
			return nil, err
		}
		out = append(out, sinkFacts("topic "+b.kafka.Layout.Topic, ledger))
	}
	return out, nil
}

// readLedger gives an empty ledger for a pipeline that the database has never seen.
func readLedger(ctx context.Context, url, pipeline string) (l microbatch.Ledger, err error) {
	sink, err := postgres.New(postgres.Options{URL: url})
	if err != nil {
		return l, err
	}
	l, err = sink.ReadLedger(ctx, pipeline)
	if errors.Is(err, postgres.ErrUnknownPipeline) {
		l, err = microbatch.Ledger{}, nil
	}
	return l, errors.Join(err, sink.Close())
}

func sinkFacts(name string, l microbatch.Ledger) checkpointlog.SinkFacts {
	return checkpointlog.SinkFacts{Name: name, Ledger: checkpointlog.LedgerFacts{Found: l.Found, Batch: l.Batch, Epoch: l.Epoch, Plan: l.Plan, ContentHash: l.ContentHash}}
}
