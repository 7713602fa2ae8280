package checkpointstore

import (
	"context"
	"fmt"
	"time"
)

// Remove deletes all that engines of a pipeline have put into a bucket, and nothing else: only objects below
// the pipeline's own prefix whose names a Mirror makes. It returns how many there were.
func Remove(ctx context.Context, l Location, pipeline string) (int, error) {
	b, err := newBucket(l, 0)
	if err != nil {
		return 0, err
	}
	if err := b.checkCredentials(); err != nil {
		return 0, err
	}
	root, n := l.root(pipeline), 0
	// Why the manifests go first: what is left of a removal that was interrupted must not look like a log.
	for _, dir := range []string{manifestDir, objectDir} {
		var found []entry
		err := retrying(ctx, time.Second, func() (err error) { found, err = b.list(ctx, root+dir); return err })
		if err != nil {
			return n, err
		}
		for _, e := range found {
			if _, ok := namespaceOf(root, e.key); !ok {
				continue
			}
			if err := retrying(ctx, time.Second, func() error { return b.remove(ctx, e.key) }); err != nil {
				return n, fmt.Errorf("remove the copy of pipeline %s: %w", pipeline, err)
			}
			n++
		}
	}
	return n, nil
}
