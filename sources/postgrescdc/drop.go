package postgrescdc

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-sql/sluice/internal/failpoint"
	sink "github.com/sluice-sql/sluice/sinks/postgres"
	"github.com/sluice-sql/sluice/sources/ingestlog"
)

var fpDropped = failpoint.New("cdc.drop.after_slot")

// dropBoth drops the slot, and the publication if Sluice made it.
func (o Options) dropBoth(ctx context.Context, conn *pgx.Conn, doc *document) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	if err := dropSlot(ctx, conn, doc.Slot); err != nil {
		return err
	}
	if err := fpDropped.Hit(); err != nil {
		return err
	}
	if doc.MadePublication && o.Publication != doc.Publication {
		if _, err := conn.Exec(ctx, "DROP PUBLICATION IF EXISTS "+quoteIdent(doc.Publication)); err != nil {
			return sink.Explain("drop publication "+doc.Publication, err)
		}
	}
	return nil
}

// Drop drops what a capture has made in the database; the log itself is the caller's to remove. It returns the name
// of the slot, empty if there was no log. It can be repeated.
func Drop(ctx context.Context, opt Options) (slot string, err error) {
	opt = opt.withDefaults()
	doc, err := opt.recorded()
	if err != nil || doc == nil || doc.Pipeline != opt.Pipeline {
		return "", err // the slot of the pipeline that a savepoint was made of stays
	}
	err = opt.withSession(ctx, func(ctx context.Context, conn *pgx.Conn) error { return opt.dropBoth(ctx, conn, doc) })
	if err != nil {
		return "", fmt.Errorf("drop what captured changes of %d tables: %w\nHint: as long as replication slot %s is there, the server keeps its log: SELECT pg_drop_replication_slot(%s)", len(doc.Tables), err, doc.Slot, quoteLiteral(doc.Slot))
	}
	return doc.Slot, nil
}

// recorded returns the document of a log, which may be in use; nil if there is no log.
func (o Options) recorded() (*document, error) {
	firsts, err := o.FS.ReadDir(o.Dir)
	if err != nil || len(firsts) == 0 {
		return nil, nil // there is no such directory
	}
	first, err := ingestlog.First(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	r := newReader(o.FS, o.Dir, nil)
	// What describes the first rows may have been deleted with those before; it is written again and again.
	for e, err := range r.plain(int64(first), math.MaxInt64) {
		if errors.Is(err, ingestlog.ErrEnd) {
			return nil, nil // a crash came before the first row
		}
		if err != nil {
			return nil, err
		}
		b, err := decodeBlock(e)
		if err != nil {
			return nil, fmt.Errorf("read the beginning of %s: %w", o.Dir, err)
		}
		if b.docAt == b.first {
			return r.learn(&b)
		}
	}
	return nil, nil
}
