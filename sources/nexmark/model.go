package nexmark

// Of every 50 events, the first is a person, the next three are auctions and the rest are bids.
const (
	personsPerRound  = 1
	auctionsPerRound = 3
	eventsPerRound   = 50
	bidsPerRound     = eventsPerRound - auctionsPerRound - personsPerRound

	firstPersonID   = 1000
	firstAuctionID  = 1000
	firstCategoryID = 10
	categories      = 5

	// Ids may run ahead of the newest auction or person: bids on what does not exist yet.
	auctionIDLead = 10
	personIDLead  = 10

	// One auction, seller and bidder in so many is hot at a time.
	hotEvery = 100
)

// generator makes events.
type generator struct {
	opt     Options
	key     uint64
	firstUs int64
}

func newGenerator(opt Options) *generator {
	return &generator{opt: opt, key: mix(opt.Seed ^ 0x736c75696365), firstUs: opt.FirstEventAt.UnixMicro()}
}

// at is an event's time in microseconds since 1970, whole milliseconds as in the standard generator.
func (g *generator) at(event int64) int64 {
	return g.firstUs + g.elapsed(event)
}

func (g *generator) elapsed(event int64) int64 {
	return (event/g.opt.EventRate*1000 + event%g.opt.EventRate*1000/g.opt.EventRate) * 1000
}

// lastPerson is the number, from 0, of the newest person at an event.
func lastPerson(event int64) int64 { return event / eventsPerRound }

// lastAuction is the number, from 0, of the newest auction at an event, -1 when there is none.
func lastAuction(event int64) int64 {
	round, place := event/eventsPerRound, event%eventsPerRound
	switch {
	case place < personsPerRound:
		return round*auctionsPerRound - 1
	case place >= personsPerRound+auctionsPerRound:
		return round*auctionsPerRound + auctionsPerRound - 1
	}
	return round*auctionsPerRound + place - personsPerRound
}

// anyPerson picks one of the newest people, or one about to register.
func (g *generator) anyPerson(event int64, word uint64) int64 {
	people := lastPerson(event) + 1
	active := min(people, g.opt.ActivePeople)
	return people - active + below(word, active+personIDLead)
}

// anyAuction picks one of the newest auctions, or one about to open.
func (g *generator) anyAuction(event int64, word uint64) int64 {
	newest := lastAuction(event)
	oldest := max(newest-g.opt.InFlightAuctions, 0)
	return oldest + below(word, newest-oldest+1+auctionIDLead)
}

// bidAuction is the auction of a bid.
func (g *generator) bidAuction(event int64) int64 {
	if below(g.draw(event, drawHot), g.opt.HotAuctionRatio) > 0 {
		return firstAuctionID + lastAuction(event)/hotEvery*hotEvery
	}
	return firstAuctionID + g.anyAuction(event, g.draw(event, drawChoice))
}

// bidder is the person of a bid.
func (g *generator) bidder(event int64) int64 {
	if below(g.draw(event, drawPerson), g.opt.HotBiddersRatio) > 0 {
		return firstPersonID + lastPerson(event)/hotEvery*hotEvery + 1
	}
	return firstPersonID + g.anyPerson(event, g.draw(event, drawPersonChoice))
}

// seller is the person of an auction.
func (g *generator) seller(event int64) int64 {
	if below(g.draw(event, drawPerson), g.opt.HotSellersRatio) > 0 {
		return firstPersonID + lastPerson(event)/hotEvery*hotEvery
	}
	return firstPersonID + g.anyPerson(event, g.draw(event, drawPersonChoice))
}

// expires is when an auction closes: about when the auctions in flight have been replaced.
func (g *generator) expires(event int64) int64 {
	horizon := g.elapsed(event+g.opt.InFlightAuctions*eventsPerRound/auctionsPerRound) - g.elapsed(event)
	ms := 1 + below(g.draw(event, drawExpires), max(2*horizon/1000, 1))
	return g.at(event) + ms*1000
}
