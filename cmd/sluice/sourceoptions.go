package main

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
	"github.com/sluice-sql/sluice/planner/ddl"
	"github.com/sluice-sql/sluice/sources/file"
	"github.com/sluice-sql/sluice/sources/nexmark"
)

// The constructors' options, from what a file says of a source.

func (l *loaded) fileOptions(src planner.Source, v ddl.Values) file.Options {
	o := file.Options{
		Name: src.Name, Columns: src.ReadColumns(), BaseDir: l.BaseDir, Static: src.Table,
		Format: v.String("format"), OnError: v.String("on_error"),
		MaxRowBytes: v.Bytes("max_row_bytes"),
		Encoding:    v.String("encoding"), TimestampUnit: v.String("timestamp_unit"), TimeUnit: v.String("time_unit"),
		DecimalHandlingMode: v.String("decimal_handling_mode"),
		CSV: file.CSVOptions{NoHeader: !v.Bool("header"), Delimiter: v.String("delimiter"), Quote: v.String("quote"),
			Escape: v.String("escape"), NullString: v.String("null")},
	}
	if !src.Table {
		o.Mode, o.Identity = v.String("mode"), v.String("identity")
	}
	for _, in := range l.plan.Program.Sources {
		if in.Name == src.Name {
			o.Changes, o.Key = in.Changes, keyOf(in, o.Columns)
		}
	}
	path, _ := src.Decl.With.Lookup("path")
	o.Path = path.Value
	if path.Form == ddl.ListValue {
		doc, err := json.Marshal(path.List)
		if err != nil {
			panic("sluice: a list of strings cannot be encoded: " + err.Error())
		}
		o.Path = string(doc)
	}
	if o.Mode == "" && l.UntilEnd || l.Scratch != nil && !o.Static {
		o.Mode = "bounded"
	}
	return o
}

// keyOf finds the columns of a source's key among those that its rows have.
func keyOf(in planner.SourceInput, columns []vector.Field) (key []int) {
	for _, k := range in.Key {
		if i := slices.IndexFunc(columns, func(c vector.Field) bool { return c.Name == in.Columns[k].Name }); i >= 0 {
			key = append(key, i)
		}
	}
	return key
}

// checkFormatOptions refuses options that would be ignored.
func checkFormatOptions(v ddl.Values, o file.Options) error {
	format, encoding := o.Formats()
	var problems []error
	for _, of := range []string{"csv", "changelog", "debezium"} {
		for _, name := range formatOptions[of] {
			if v.Given(name) && format != "" && format != of && encoding != of {
				problems = append(problems, v.Errorf(name, "option %q is for %s, and the format is %s", name, of, format).WithHint("remove it"))
			}
		}
	}
	return ddl.Join(problems...)
}

func nexmarkOptionsOf(src planner.Source, v ddl.Values) (nexmark.Options, error) {
	o := nexmark.Options{
		Name: src.Name, Columns: src.ReadColumns(), Type: v.String("type"), Seed: uint64(v.Int("seed")), Events: v.Int("events"),
		Rate: float64(v.Int("rate")), EventRate: v.Int("event_rate"),
		HotAuctionRatio: v.Int("hot_auction_ratio"), HotSellersRatio: v.Int("hot_sellers_ratio"), HotBiddersRatio: v.Int("hot_bidders_ratio"),
		InFlightAuctions: v.Int("in_flight_auctions"), ActivePeople: v.Int("active_people"),
		PersonBytes: v.Bytes("person_bytes"), AuctionBytes: v.Bytes("auction_bytes"), BidBytes: v.Bytes("bid_bytes"),
	}
	for _, layout := range []string{time.DateTime, time.RFC3339Nano, "2006-01-02 15:04:05.999999", time.DateOnly} {
		if at, err := time.Parse(layout, v.String("first_event_at")); err == nil {
			o.FirstEventAt = at.UTC()
			return o, nil
		}
	}
	return o, v.Errorf("first_event_at", "option \"first_event_at\" is %q, not a time", v.String("first_event_at")).
		WithHint("write it as '2015-07-15 00:00:00'")
}
