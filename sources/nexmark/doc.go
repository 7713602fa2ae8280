// Package nexmark generates the event stream of the Nexmark benchmark (Tucker et al., 2002; the
// proportions, ratios and id arithmetic are those of Apache Beam's and Flink's generators): an auction
// house where people register, open auctions and bid.
//
// Of every 50 events the first is a person, the next three are auctions and the other 46 are bids. A
// source reads one of the three types. Event n is a function of the seed and n alone, so an offset is an
// event number, any range can be generated on its own, and sources of different types with the same
// options are views of one stream: every bid names an auction and a person around it in time.
//
// Random numbers are integers from a counter-based generator (SplitMix64 of seed, event and column), so a
// stream is the same on every machine and only the declared columns are generated. The values therefore
// differ from those of the Java generators; their distributions are the same.
package nexmark
