package checkpointstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Records are small documents beside the copies, one a pipeline, that are replaced as a whole: what a daemon on
// another machine needs to know to go on with a pipeline.
type Records struct {
	at Location
	b  *bucket
}

const (
	recordDir = "records"
	// maxRecordBytes bounds one; a pipeline's text is the most of it.
	maxRecordBytes = 16 << 20
	recordTimeout  = 10 * time.Second
)

// NewRecords finds credentials; it does not ask the server yet.
func NewRecords(l Location) (*Records, error) {
	b, err := newBucket(l, recordTimeout)
	if err != nil {
		return nil, err
	}
	return &Records{l, b}, b.checkCredentials()
}

// Location is where they are.
func (r *Records) Location() Location { return r.at }

func (r *Records) key(pipeline string) string { return r.at.join(r.at.Prefix, recordDir, pipeline) }

// Put replaces a pipeline's record.
func (r *Records) Put(ctx context.Context, pipeline string, doc []byte) error {
	if len(doc) > maxRecordBytes {
		return fmt.Errorf("the record of pipeline %s has %d bytes, over the limit of %d", pipeline, len(doc), maxRecordBytes)
	}
	return r.b.put(ctx, r.key(pipeline), bytes.NewReader(doc), int64(len(doc)))
}

// Get returns a pipeline's record, nil if there is none.
func (r *Records) Get(ctx context.Context, pipeline string) ([]byte, error) {
	all, err := r.b.list(ctx, r.key(pipeline))
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(e entry) bool { return e.key == r.key(pipeline) })
	if i < 0 {
		return nil, nil
	}
	if all[i].bytes > maxRecordBytes {
		return nil, fmt.Errorf("the record of pipeline %s has %d bytes, over the limit of %d", pipeline, all[i].bytes, maxRecordBytes)
	}
	var out bytes.Buffer
	err = r.b.get(ctx, all[i].key, all[i].bytes, &out)
	if missing(err) {
		return nil, nil
	}
	return out.Bytes(), err
}

// Names lists the pipelines that have one.
func (r *Records) Names(ctx context.Context) (names []string, err error) {
	prefix := r.key("") + "/"
	all, err := r.b.list(ctx, prefix)
	for _, e := range all {
		if name := strings.TrimPrefix(e.key, prefix); !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	return names, err
}

// Remove deletes a pipeline's record; it is a success if there is none.
func (r *Records) Remove(ctx context.Context, pipeline string) error {
	return r.b.remove(ctx, r.key(pipeline))
}
