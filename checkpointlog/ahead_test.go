package checkpointlog

import (
	"errors"
	"strings"
	"testing"
)

// What consume sees is a prefix of what was produced, and the whole of it if nothing failed; whoever fails first, in
// the order of the items, is who is reported; and the goroutine has ended when ahead returns.
func TestAhead(t *testing.T) {
	late, early := errors.New("produce failed"), errors.New("consume failed")
	for _, c := range []struct {
		name           string
		produced, want int
		consumeFails   int // at this item, counted from 1
		panics         bool
		err            error
	}{
		{name: "all", produced: 9, want: 9},
		{name: "nothing"},
		{name: "produce fails after all was consumed", produced: 9, want: 9, err: late},
		{name: "consume fails first", produced: 9, want: 3, consumeFails: 3, err: early},
		{name: "produce panics", produced: 4, want: 4, panics: true},
	} {
		for _, depth := range []int{0, 1, 4} {
			made, seen, ended := 0, 0, false
			err := ahead(depth, func(hand func(int) error) error {
				defer func() { ended = true }()
				for made < c.produced {
					made++
					if err := hand(made); err != nil {
						return err
					}
				}
				if c.panics {
					panic("a defect")
				}
				if errors.Is(c.err, late) {
					return late
				}
				return nil
			}, func(i int) error {
				if seen++; i != seen {
					t.Errorf("%s: item %d came as number %d", c.name, i, seen)
				}
				if seen == c.consumeFails {
					return early
				}
				return nil
			})
			if c.panics {
				if err == nil || !strings.Contains(err.Error(), "a defect") {
					t.Errorf("%s: error %v", c.name, err)
				}
			} else if !errors.Is(err, c.err) {
				t.Errorf("%s: error %v, want %v", c.name, err, c.err)
			}
			if seen != c.want || !ended {
				t.Errorf("%s, depth %d: %d items, want %d; ended: %v", c.name, depth, seen, c.want, ended)
			}
		}
	}
}

func TestAheadEndsWhenConsumePanics(t *testing.T) {
	ended := false
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was lost")
			}
		}()
		_ = ahead(2, func(hand func(int) error) error {
			defer func() { ended = true }()
			for {
				if err := hand(1); err != nil {
					return err
				}
			}
		}, func(int) error { panic("a defect") })
	}()
	if !ended {
		t.Error("the reader goes on")
	}
}
