package checkpointstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// bucket makes requests under a location, each once and each with a limit on its time.
type bucket struct {
	at      Location
	client  *minio.Client
	creds   *credentials.Credentials
	timeout time.Duration
}

// minBytesPerSecond is the rate below which a transfer counts as stalled.
const minBytesPerSecond = 256 << 10

// partBytes is the size from which an object is uploaded in parts.
const partBytes = 128 << 20

func newBucket(l Location, timeout time.Duration) (*bucket, error) {
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	b := &bucket{at: l, creds: chain(l), timeout: timeout}
	lookup := minio.BucketLookupDNS
	if l.PathStyle {
		lookup = minio.BucketLookupPath
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: timeout, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
		// Why: what is stored is compressed already, and a transport that inflates would hide an object's size.
		DisableCompression: true,
	}
	var err error
	// Why one try: the mirror tries again itself, and says meanwhile what the matter is.
	b.client, err = minio.New(l.Endpoint, &minio.Options{Creds: b.creds, Secure: !l.Insecure, Region: l.Region, BucketLookup: lookup,
		Transport: transport, MaxRetries: 1})
	if err != nil {
		return nil, fmt.Errorf("checkpoint storage %s: %w", l, err)
	}
	return b, nil
}

// limited bounds a request that transfers so many bytes.
func (b *bucket) limited(ctx context.Context, bytes int64) (context.Context, context.CancelFunc) {
	limit := b.timeout + time.Duration(bytes/minBytesPerSecond)*time.Second
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s", limit))
}

// failed wraps what a request returned.
func (b *bucket) failed(ctx context.Context, doing, key string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && context.Cause(ctx) != nil {
		err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return fmt.Errorf("%s s3://%s/%s: %w%s", doing, b.at.Bucket, key, err, hint(err))
}

func (b *bucket) put(ctx context.Context, key string, r io.Reader, bytes int64) error {
	ctx, cancel := b.limited(ctx, bytes)
	defer cancel()
	_, err := b.client.PutObject(ctx, b.at.Bucket, key, r, bytes, minio.PutObjectOptions{
		ContentType: "application/octet-stream", PartSize: partBytes, NumThreads: 2})
	if err != nil {
		return b.failed(ctx, "upload", key, err)
	}
	return nil
}

// get reads an object of a known size to w. One that is shorter or longer is an error.
func (b *bucket) get(ctx context.Context, key string, bytes int64, w io.Writer) error {
	ctx, cancel := b.limited(ctx, bytes)
	defer cancel()
	body, err := b.client.GetObject(ctx, b.at.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return b.failed(ctx, "download", key, err)
	}
	defer body.Close()
	n, err := io.Copy(w, io.LimitReader(body, bytes+1))
	switch {
	case err != nil:
		return b.failed(ctx, "download", key, err)
	case n != bytes:
		return fmt.Errorf("download s3://%s/%s: got %d bytes of %d", b.at.Bucket, key, n, bytes)
	}
	return nil
}

// An entry is an object as a listing shows it.
type entry struct {
	key   string
	bytes int64
}

func (b *bucket) list(ctx context.Context, prefix string) ([]entry, error) {
	ctx, cancel := b.limited(ctx, 0)
	defer cancel()
	var out []entry
	for o := range b.client.ListObjects(ctx, b.at.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, b.failed(ctx, "list", prefix, o.Err)
		}
		// Why look again: whoever deletes by a listing must not depend on what a server thinks a prefix is.
		if strings.HasPrefix(o.Key, prefix) {
			out = append(out, entry{o.Key, o.Size})
		}
	}
	return out, nil
}

// copy has the server copy an object; nothing is transferred.
func (b *bucket) copy(ctx context.Context, from, to string, bytes int64) error {
	ctx, cancel := b.limited(ctx, bytes)
	defer cancel()
	_, err := b.client.CopyObject(ctx, minio.CopyDestOptions{Bucket: b.at.Bucket, Object: to}, minio.CopySrcOptions{Bucket: b.at.Bucket, Object: from})
	if err != nil {
		return b.failed(ctx, "copy", from, err)
	}
	return nil
}

// remove deletes an object; it is a success if there is none.
func (b *bucket) remove(ctx context.Context, key string) error {
	ctx, cancel := b.limited(ctx, 0)
	defer cancel()
	err := b.client.RemoveObject(ctx, b.at.Bucket, key, minio.RemoveObjectOptions{})
	if err != nil && !missing(err) {
		return b.failed(ctx, "delete", key, err)
	}
	return nil
}
