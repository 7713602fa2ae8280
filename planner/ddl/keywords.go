package ddl

import "strings"

// reserved are the keywords that DuckDB 1.5 does not take as the name of a table or column without quotes:
// the categories "reserved" and "type_function" of duckdb_keywords().
var reserved = wordSet(`
	all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create
	default deferrable desc describe distinct do else end except false fetch for foreign from group having in
	initially intersect into lambda lateral leading limit not null offset on only or order pivot pivot_longer
	pivot_wider placing primary qualify references returning select show some summarize symmetric table then
	to trailing true union unique unpivot using variadic when where window with
	anti asof at authorization binary by collation columns concurrently cross freeze full generated glob ilike
	inner is isnull join left like map natural notnull outer overlaps positional right semi similar struct
	tablesample try_cast unpack verbose`)

// typeWords may follow the first word of a type: TIMESTAMP WITH TIME ZONE, DOUBLE PRECISION, INTERVAL DAY.
var typeWords = wordSet(`precision varying with without time zone array
	year month day hour minute second to`)

// statementWords begin statements; after a complete statement they show that a semicolon is missing.
var statementWords = wordSet(`create set select with insert update delete drop alter`)

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}
