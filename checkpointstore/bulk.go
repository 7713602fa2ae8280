package checkpointstore

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// runBulk uploads what is large and not urgent, beside the log's end: snapshots, and sealed segments once more
// as one object in place of their parts.
func (m *Mirror) runBulk(ctx context.Context) {
	defer m.done.Done()
	b := backoff{max: m.opt.MaxWait}
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.bulk:
		}
		for c := m.nextBulk(); c != nil && ctx.Err() == nil; c = m.nextBulk() {
			err := m.makeWhole(ctx, c)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				m.forget(c) // retention was faster
			case err != nil && ctx.Err() == nil:
				m.failed(err)
				wait(ctx, b.next())
			default:
				b.reset()
				signal(m.wake)
			}
		}
	}
}

// nextBulk picks a file that is to become one object: snapshots first, since they let old segments go, and
// the oldest first, since a later one may be relative to it.
func (m *Mirror) nextBulk() *copying {
	m.mu.Lock()
	defer m.mu.Unlock()
	var todo []*copying
	for _, c := range m.files {
		if !c.whole && c.size > 0 && (c.snapshot || c.bytes() == c.size) {
			todo = append(todo, c)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	return slices.MinFunc(todo, func(a, b *copying) int {
		switch {
		case a.snapshot && !b.snapshot:
			return -1
		case b.snapshot && !a.snapshot:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// makeWhole makes a sealed file one object.
func (m *Mirror) makeWhole(ctx context.Context, c *copying) error {
	m.mu.Lock()
	size := c.size
	m.mu.Unlock()
	objects, err := m.adopted(ctx, c, size)
	if err != nil {
		return err
	}
	if len(objects) != 1 || objects[0].Bytes != size {
		o, err := m.upload(ctx, c, 0, size)
		if err != nil {
			return err
		}
		objects = []object{o}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.set(objects)
	c.whole = true
	return nil
}

// forget drops a file that was deleted before it was uploaded. A segment's parts are there, and enough.
func (m *Mirror) forget(c *copying) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.snapshot {
		delete(m.files, c.Name)
	} else {
		c.whole = true
	}
}
