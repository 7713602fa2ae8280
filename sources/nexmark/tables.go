package nexmark

import (
	"math/bits"
	"strconv"

	"github.com/sluice-sql/sluice/internal/vector"
)

// A table is one type of event. place..place+count-1 of each round are its events.
type table struct {
	place, count int64
	columns      []column
	bytes        func(*Options) int64
}

// A column has either a number or a text.
type column struct {
	name   string
	kind   vector.Kind
	number func(g *generator, event int64) int64
	text   func(g *generator, dst []byte, event int64) []byte
}

func bigint(name string, f func(*generator, int64) int64) column {
	return column{name: name, kind: vector.Int64, number: f}
}

func instant(name string, f func(*generator, int64) int64) column {
	return column{name: name, kind: vector.Timestamp, number: f}
}

func varchar(name string, f func(*generator, []byte, int64) []byte) column {
	return column{name: name, kind: vector.Varchar, text: f}
}

var tables = map[string]*table{
	"person": {place: 0, count: personsPerRound, bytes: func(o *Options) int64 { return o.PersonBytes }, columns: []column{
		bigint("id", func(_ *generator, n int64) int64 { return firstPersonID + lastPerson(n) }),
		varchar("name", (*generator).personName),
		varchar("email_address", (*generator).email),
		varchar("credit_card", (*generator).creditCard),
		varchar("city", func(g *generator, dst []byte, n int64) []byte { return append(dst, g.pick(n, drawCity, cities)...) }),
		varchar("state", func(g *generator, dst []byte, n int64) []byte { return append(dst, g.pick(n, drawChoice, states)...) }),
		instant("date_time", (*generator).at),
		varchar("extra", func(g *generator, dst []byte, n int64) []byte {
			return padding(dst, g.draw(n, drawExtra), personUsed, g.opt.PersonBytes)
		}),
	}},
	"auction": {place: personsPerRound, count: auctionsPerRound, bytes: func(o *Options) int64 { return o.AuctionBytes }, columns: []column{
		bigint("id", func(_ *generator, n int64) int64 { return firstAuctionID + lastAuction(n) }),
		varchar("item_name", func(g *generator, dst []byte, n int64) []byte { return phrase(dst, g.draw(n, drawName), 20) }),
		varchar("description", func(g *generator, dst []byte, n int64) []byte { return phrase(dst, g.draw(n, drawDescription), 100) }),
		bigint("initial_bid", func(g *generator, n int64) int64 { return price(g.draw(n, drawPrice)) }),
		bigint("reserve", func(g *generator, n int64) int64 {
			return price(g.draw(n, drawPrice)) + price(g.draw(n, drawReserve))
		}),
		instant("date_time", (*generator).at),
		instant("expires", (*generator).expires),
		bigint("seller", (*generator).seller),
		bigint("category", func(g *generator, n int64) int64 {
			return firstCategoryID + below(g.draw(n, drawCategory), categories)
		}),
		varchar("extra", func(g *generator, dst []byte, n int64) []byte {
			return padding(dst, g.draw(n, drawExtra), auctionUsed, g.opt.AuctionBytes)
		}),
	}},
	"bid": {place: personsPerRound + auctionsPerRound, count: bidsPerRound, bytes: func(o *Options) int64 { return o.BidBytes }, columns: []column{
		bigint("auction", (*generator).bidAuction),
		bigint("bidder", (*generator).bidder),
		bigint("price", func(g *generator, n int64) int64 { return price(g.draw(n, drawPrice)) }),
		varchar("channel", (*generator).channel),
		varchar("url", (*generator).url),
		instant("date_time", (*generator).at),
		varchar("extra", func(g *generator, dst []byte, n int64) []byte {
			return padding(dst, g.draw(n, drawExtra), bidUsed, g.opt.BidBytes)
		}),
	}},
}

// What the other columns take of a row's average size, on average; a constant, so that extra does not
// need the others to be generated.
const (
	personUsed  = 70
	auctionUsed = 120
	bidUsed     = 32
)

var (
	firstNames = []string{"Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"}
	lastNames  = []string{"Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"}
	cities     = []string{"Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"}
	states     = []string{"AZ", "CA", "ID", "OR", "WA", "WY"}
	channels   = []string{"Google", "Facebook", "Baidu", "Apple"}
)

func (g *generator) pick(event int64, which uint64, from []string) string {
	return from[below(g.draw(event, which), int64(len(from)))]
}

func (g *generator) personName(dst []byte, event int64) []byte {
	w := g.draw(event, drawName)
	dst = append(dst, firstNames[below(w, int64(len(firstNames)))]...)
	return append(append(dst, ' '), lastNames[below(mix(w), int64(len(lastNames)))]...)
}

func (g *generator) email(dst []byte, event int64) []byte {
	w := g.draw(event, drawEmail)
	dst = append(letters(dst, w, 3+int(below(w, 5))), '@')
	w = mix(w)
	return append(letters(dst, w, 3+int(below(w, 3))), ".com"...)
}

func (g *generator) creditCard(dst []byte, event int64) []byte {
	w := g.draw(event, drawCard)
	for group := range 4 {
		if group > 0 {
			dst = append(dst, ' ')
		}
		n := below(w<<(16*group), 10_000)
		dst = append(dst, byte('0'+n/1000), byte('0'+n/100%10), byte('0'+n/10%10), byte('0'+n%10))
	}
	return dst
}

// channelOf returns a bid's channel: half the bids come through one of four hot ones (hot is then its
// number), the others through one of 10,000.
func (g *generator) channelOf(event int64) (hot int, cold int64) {
	w := g.draw(event, drawChannel)
	if w>>63 == 1 {
		return int(w>>61) & 3, -1
	}
	return -1, below(w<<1, 10_000)
}

func (g *generator) channel(dst []byte, event int64) []byte {
	hot, cold := g.channelOf(event)
	if hot >= 0 {
		return append(dst, channels[hot]...)
	}
	return strconv.AppendInt(append(dst, "channel-"...), cold, 10)
}

// url is a function of the channel; nine cold channels in ten carry a channel_id.
func (g *generator) url(dst []byte, event int64) []byte {
	hot, cold := g.channelOf(event)
	w := mix(g.key + uint64(cold)*golden)
	if hot >= 0 {
		w = mix(g.key ^ uint64(hot))
	}
	dst = append(dst, "https://www.nexmark.com/"...)
	for i := range 3 {
		x := mix(w + uint64(i))
		dst = append(letters(dst, x, 3+int(below(x, 3))), '/')
	}
	dst = append(dst, "item.htm?query=1"...)
	if hot < 0 && below(w, 10) > 0 {
		dst = append(dst, "&channel_id="...)
		dst = strconv.AppendUint(dst, uint64(bits.Reverse32(uint32(cold))>>1), 10)
	}
	return dst
}

// rowsBefore is how many rows of the type come before an event.
func (t *table) rowsBefore(event int64) int64 {
	round, place := event/eventsPerRound, event%eventsPerRound
	return round*t.count + max(0, min(place-t.place, t.count))
}

// eventOf is the event number of a row of the type, counted from 0.
func (t *table) eventOf(row int64) int64 { return row/t.count*eventsPerRound + t.place + row%t.count }
