package nexmark

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
)

// Options configure a source. The zero value of each field means its default.
type Options struct {
	// Name is the source's name, for messages. Defaults to "nexmark".
	Name string
	// Columns are the declared columns: any of the type's, in any order. Required.
	Columns []vector.Field
	// Type is "person", "auction" or "bid". Defaults to the source's name if that is one of them.
	Type string
	// Seed selects the stream. Defaults to 0, a stream like any other.
	Seed uint64
	// Events ends the stream after that many events of all types together. Defaults to 0: it never ends.
	Events int64
	// Rate limits how many events of all types become available a second of wall-clock time since the
	// source was opened. It does not change what an event is. Defaults to 0: as fast as they are read.
	Rate float64
	// EventRate is how many events there are to a second of event time. Defaults to 10,000.
	EventRate int64
	// FirstEventAt is the event time of event 0. Defaults to 2015-07-15 00:00:00 UTC.
	FirstEventAt time.Time
	// HotAuctionRatio: all bids but one in so many go to a hot auction. Defaults to 2.
	HotAuctionRatio int64
	// HotSellersRatio: all auctions but one in so many are opened by a hot seller. Defaults to 4.
	HotSellersRatio int64
	// HotBiddersRatio: all bids but one in so many come from a hot bidder. Defaults to 4.
	HotBiddersRatio int64
	// InFlightAuctions is how many of the newest auctions the other bids choose from. Defaults to 100.
	InFlightAuctions int64
	// ActivePeople is how many of the newest people the other bidders and sellers are chosen from.
	// Defaults to 1,000.
	ActivePeople int64
	// PersonBytes, AuctionBytes and BidBytes are the average sizes that the extra column fills up to.
	// Default to 200, 500 and 100.
	PersonBytes, AuctionBytes, BidBytes int64
}

// maxSize bounds every ratio, count and size, so that the arithmetic cannot overflow.
const maxSize = 1 << 20

// maxEvents is what a _seq has room for.
const maxEvents = 1 << 44

func (o Options) withDefaults() Options {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	if o.Name == "" {
		o.Name = "nexmark"
	}
	if o.Type == "" && tables[strings.ToLower(o.Name)] != nil {
		o.Type = strings.ToLower(o.Name)
	}
	if o.FirstEventAt.IsZero() {
		o.FirstEventAt = time.Date(2015, 7, 15, 0, 0, 0, 0, time.UTC)
	}
	def(&o.EventRate, 10_000)
	def(&o.HotAuctionRatio, 2)
	def(&o.HotSellersRatio, 4)
	def(&o.HotBiddersRatio, 4)
	def(&o.InFlightAuctions, 100)
	def(&o.ActivePeople, 1000)
	def(&o.PersonBytes, 200)
	def(&o.AuctionBytes, 500)
	def(&o.BidBytes, 100)
	return o
}

// Validate returns all that is wrong with the options, joined.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, n := range []struct {
		option string
		value  int64
	}{
		{"event_rate", o.EventRate}, {"hot_auction_ratio", o.HotAuctionRatio}, {"hot_sellers_ratio", o.HotSellersRatio},
		{"hot_bidders_ratio", o.HotBiddersRatio}, {"in_flight_auctions", o.InFlightAuctions},
		{"active_people", o.ActivePeople}, {"person_bytes", o.PersonBytes}, {"auction_bytes", o.AuctionBytes}, {"bid_bytes", o.BidBytes},
	} {
		if n.value < 1 || n.value > maxSize && n.option != "event_rate" || n.value > 1_000_000 {
			bad("%s = %d is not between 1 and 1000000", n.option, n.value)
		}
	}
	if o.Events < 0 || o.Events >= maxEvents {
		bad("events = %d is not between 0 and 2^44", o.Events)
	}
	if o.Rate < 0 || o.Rate != o.Rate {
		bad("rate = %v is not a positive number", o.Rate)
	}
	if len(o.Columns) == 0 {
		bad("no columns are declared")
	}
	t := tables[o.Type]
	if t == nil {
		bad("type = '%s' is not known\nHint: use 'person', 'auction' or 'bid'", o.Type)
		return errors.Join(errs...)
	}
	seen := map[string]bool{}
	for _, f := range o.Columns {
		if seen[f.Name] {
			bad("column %s is declared twice", f.Name)
		}
		seen[f.Name] = true
		if err := t.check(o.Type, f); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// check refuses a column that the type does not have.
func (t *table) check(typ string, f vector.Field) error {
	for _, c := range t.columns {
		if c.name != f.Name {
			continue
		}
		if !f.Type.Equal(vector.Of(c.kind)) {
			return fmt.Errorf("column %s is declared %s, but nexmark's is %s\nHint: declare it %s and cast it in the query",
				f.Name, f.Type, vector.Of(c.kind), vector.Of(c.kind))
		}
		return nil
	}
	hint := ""
	if near := t.nearest(f.Name); near != "" {
		hint = "did you mean " + near + "? "
	}
	return fmt.Errorf("nexmark's %s has no column %s\nHint: %sit has %s", typ, f.Name, hint, strings.Join(t.names(), ", "))
}

func (t *table) names() []string {
	out := make([]string, len(t.columns))
	for i, c := range t.columns {
		out[i] = c.name
	}
	return out
}

// nearest returns the column whose name is at most a third of its length away, or "".
func (t *table) nearest(name string) string {
	best, far := "", len(name)/3+1
	for _, c := range t.columns {
		if d := distance(strings.ToLower(name), c.name); d <= far {
			best, far = c.name, d-1
		}
	}
	return best
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
