package oracle_test

import (
	"fmt"
	"math/rand"
	"strings"
)

// exprGen writes random expressions over the columns in scope. Classes are coarser than types: an
// expression of class "int" is some integer.
type exprGen struct {
	*rand.Rand
	scope []column
}

func (g *exprGen) pick(options ...string) string { return options[g.Intn(len(options))] }

// of returns an expression of a class.
func (g *exprGen) of(class string, depth int) string {
	if depth <= 0 || g.Intn(4) == 0 {
		return g.leaf(class)
	}
	template := g.template(class)
	if template == "" {
		return g.leaf(class)
	}
	return g.fill(template, depth-1)
}

// fill replaces <class> in a template by expressions.
func (g *exprGen) fill(template string, depth int) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(template, "‹")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		class, after, _ := strings.Cut(rest, "›")
		b.WriteString(g.of(class, depth))
		template = after
	}
}

func (g *exprGen) leaf(class string) string {
	var fit []string
	for _, c := range g.scope {
		if c.class == class {
			fit = append(fit, c.name)
		}
	}
	if len(fit) > 0 && g.Intn(30) > 0 {
		return fit[g.Intn(len(fit))]
	}
	if via, ok := derived[class]; ok && g.Intn(30) > 0 {
		return g.fill(g.pick(via...), 0)
	}
	if options, ok := literals[class]; ok {
		return g.pick(options...)
	}
	panic("no literal of class " + class)
}

// derived makes a class from the columns that every relation has: text, an integer and a time.
var derived = map[string][]string{
	"uint": {"(abs(‹int›) % 9)::UBIGINT"}, "huge": {"‹int›::HUGEINT"}, "dec": {"(‹int› % 100)::DECIMAL(10,2)"}, "dec38": {"(‹int› % 100)::DECIMAL(38,6)"}, "dbl": {"(‹int› % 50 / 3 + 40)"},
	"wild": {"(‹int› % 2)::DOUBLE * -1"}, "str": {"‹int›::VARCHAR", "'a' || ‹int› % 3"}, "wildts": {"‹ts›"}, "date": {"‹ts›::DATE"}, "tz": {"‹ts›::TIMESTAMPTZ"}, "time": {"‹ts›::TIME"}, "iv": {"to_days((‹int› % 40)::INTEGER)"},
	"bool": {"(‹int› > 2)", "(‹int› IS NULL)", "(‹int› % 2 = 0)"}, "ints": {"CAST([‹int› % 5, 1] AS INTEGER[])"}, "strs": {"['a', ‹int›::VARCHAR]"}, "struct": {"{'a': (‹int› % 5)::INTEGER, 'b': 'x'}"}, "map": {"MAP {'a': (‹int› % 3)::INTEGER}"},
	"blob": {"(‹int›::VARCHAR)::BLOB"}, "uuid": {"md5(‹int›::VARCHAR)::UUID"}, "enum": {"(CASE WHEN ‹int› > 2 THEN 'x' ELSE 'y' END)::ENUM('z', 'x', 'y')"},
}

var literals = map[string][]string{
	"int": {"0", "1", "-3", "7", "100::BIGINT", "NULL::INTEGER", "2::TINYINT", "9223372036854775807 % 10"}, "uint": {"3::UBIGINT", "NULL::UBIGINT"},
	"huge": {"5::HUGEINT", "-1::HUGEINT"}, "dec": {"1.50", "-0.01", "NULL::DECIMAL(10,2)"}, "dec38": {"0.000001::DECIMAL(38,6)"},
	"dbl": {"2.5e0", "1e-3", "NULL::DOUBLE", "100.0::DOUBLE"}, "wild": {"'nan'::DOUBLE", "1e300", "0e0", "-1e0"},
	"str": {"''", "'a'", "'it''s'", "'10'", "NULL::VARCHAR", "'é'"}, "ts": {"TIMESTAMP '2020-01-01 00:00:10'", "NULL::TIMESTAMP"},
	"wildts": {"'infinity'::TIMESTAMP", "TIMESTAMP '1969-12-31 23:59:59'"}, "date": {"DATE '2020-01-01'", "NULL::DATE"},
	"tz": {"TIMESTAMPTZ '2020-01-01 00:00:00+00'"}, "time": {"TIME '12:00:00'"}, "iv": {"INTERVAL '1 day'", "INTERVAL '90 minutes'", "INTERVAL 2 MONTH", "NULL::INTERVAL"},
	"bool": {"true", "false", "NULL::BOOLEAN"}, "ints": {"[1, 2]", "CAST([] AS INTEGER[])", "CAST(NULL AS INTEGER[])"}, "strs": {"['a', NULL]", "CAST([] AS VARCHAR[])"},
	"struct": {"{'a': 1, 'b': 'x'}", "CAST(row(NULL, 'y') AS STRUCT(a INTEGER, b VARCHAR))"}, "map": {"MAP {'a': 2}"}, "blob": {"'x'::BLOB"},
	"uuid": {"'00000000-0000-0000-0000-000000000001'::UUID"}, "enum": {"'x'::ENUM('z', 'x', 'y')"},
}

func (g *exprGen) template(class string) string {
	all := append([]string{}, templates[class]...)
	// What any class has: conditionals.
	all = append(all, fmt.Sprintf("CASE WHEN ‹bool› THEN ‹%[1]s› ELSE ‹%[1]s› END", class), fmt.Sprintf("coalesce(‹%[1]s›, ‹%[1]s›)", class))
	return g.pick(all...)
}

var templates = map[string][]string{
	"int": {"(‹int› % 10 + ‹int› % 7)", "(‹int› % 5) * 3", "‹int› - ‹int› % 4", "-(‹int› % 9)", "len(‹str›)", "abs(‹int› % 100)", "(‹int› // nullif(‹int›, 0))",
		"len(‹ints›)", "‹ints›[1]", "‹struct›.a", "‹map›['a']", "year(‹ts›)", "extract('minute' FROM ‹ts›)", "extract(dow FROM ‹date›)", "date_diff('day', ‹date›, ‹date›)",
		"CASE ‹str› WHEN 'a' THEN 1 WHEN 'ab' THEN ‹int› END", "TRY_CAST(‹str› AS INTEGER)", "‹bool›::INTEGER", "(‹int› & 7) | 1", "xor(‹int›, 5)", "greatest(‹int›, ‹int›)", "least(‹int›, ‹int›, 3)",
		"nullif(‹int›, 1)", "list_sum(‹ints›)", "list_position(‹ints›, 1)", "position('a' IN ‹str›)", "ascii(‹str›)", "sign(‹int›)", "epoch(‹ts›)::BIGINT", "hash(‹str›) % 10", "round(‹dbl›)::INTEGER",
		"list_reduce([1, 2] || ‹ints›, lambda a, b: coalesce(a, 0) + coalesce(b, 0))", "bit_count(‹int›)", "strpos(‹str›, 'b')", "len(list_filter(‹ints›, lambda x: x > ‹int›))", "unicode(‹str›)", "enum_code(‹enum›)::INTEGER", "hour(‹time›)"},
	"uint": {"greatest(‹uint›, ‹uint›)"},
	"huge": {"(‹huge› + ‹int›)", "-‹huge›", "‹int›::HUGEINT * 1000000000000", "abs(‹huge›)"},
	"dec":  {"(‹dec› % 100.00)::DECIMAL(10,2)", "round(‹dec›, 1)::DECIMAL(10,2)", "(‹int› % 100)::DECIMAL(10,2)", "-‹dec›", "abs(‹dec›)", "TRY_CAST(‹str› AS DECIMAL(10,2))", "(‹dec› / 3)::DECIMAL(10,2)"},
	"dbl":  {"(‹dbl› + 1)", "‹dbl› * 0.5", "sqrt(abs(‹dbl›))", "ln(abs(‹dbl›) + 1)", "‹int›::DOUBLE", "round(‹dbl›, 2)", "‹dec› / 7", "(‹int› / 3)", "TRY_CAST(‹str› AS DOUBLE)", "pow(‹int› % 5, 2)", "exp(‹int› % 4)"},
	"wild": {"-‹wild›", "‹wild› * 2", "‹wild› + ‹wild›", "greatest(‹wild›, ‹wild›)", "‹dbl› * -0e0"},
	"str": {"upper(‹str›)", "‹str› || ‹str›", "concat(‹str›, ‹int›)", "substr(‹str›, 1, 2)", "‹str›[1:2]", "replace(‹str›, 'a', 'b')", "‹int›::VARCHAR", "lpad(‹str›, 3, '*')", "trim(‹str›)",
		"strftime(‹ts›, '%H:%M')", "‹struct›.b", "list_aggregate(‹strs›, 'string_agg', ',')", "array_to_string(‹strs›, '-')", "‹strs›[1]", "reverse(‹str›)", "left(‹str›, 1)", "printf('%d:%s', ‹int›, ‹str›)",
		"regexp_replace(‹str›, '[a-z]+', '<\\0>')", "split_part(‹str›, 'a', 1)", "‹date›::VARCHAR", "typeof(‹int›)", "monthname(‹date›)", "CASE WHEN ‹str› LIKE '%a%' THEN ‹str› END", "repeat(‹str›, 2)", "md5(‹str›)",
		"‹enum›::VARCHAR", "‹dec›::VARCHAR", "format('{}', ‹int›)", "bar(‹int› % 10, 0, 10, 5)", "‹uuid›::VARCHAR", "‹iv›::VARCHAR", "strip_accents(‹str›)", "translate(‹str›, 'ab', 'xy')"},
	"ts":     {"date_trunc('minute', ‹ts›)", "‹ts› + INTERVAL '1 hour'", "‹ts› - INTERVAL '1 month'", "time_bucket(INTERVAL '10 seconds', ‹ts›)", "‹date›::TIMESTAMP", "to_timestamp(‹int›)::TIMESTAMP", "date_trunc('month', ‹ts›)::TIMESTAMP", "‹date› + ‹time›", "‹tz›::TIMESTAMP", "TRY_CAST(‹str› AS TIMESTAMP)", "make_timestamp(‹int› * 1000000)", "‹ts› + to_days((‹int› % 30)::INTEGER)"},
	"wildts": {"greatest(‹wildts›, ‹ts›)", "least(‹wildts›, ‹wildts›)"},
	"date":   {"‹date› + 1", "‹ts›::DATE", "last_day(‹date›)", "date_trunc('month', ‹date›)::DATE", "TRY_CAST(‹str› AS DATE)", "make_date(2020, 1 + abs(‹int› % 12), 1)", "strptime('2020-01-02', '%Y-%m-%d')::DATE"},
	"tz":     {"‹tz› + INTERVAL '1 hour'", "‹ts› AT TIME ZONE 'UTC'", "date_trunc('day', ‹tz›)", "to_timestamp(‹int›)", "time_bucket(INTERVAL '1 day', ‹tz›)"},
	"time":   {"‹ts›::TIME", "‹time› + INTERVAL '1 hour'"},
	"iv":     {"‹iv› + ‹iv›", "-‹iv›", "to_seconds(‹int› % 100)", "‹ts› - ‹ts›", "‹iv› * 2", "age(‹ts›, ‹ts›)", "to_months((‹int› % 10)::INTEGER)"},
	"bool": {"‹int› > ‹int›", "‹dbl› < ‹dbl›", "‹str› = ‹str›", "‹str› LIKE 'a%'", "‹str› ILIKE '%A%'", "‹str› NOT LIKE '%b_'", "‹int› IN (1, 2, ‹int›)", "‹str› IN ('a', 'ab', NULL)", "‹int› NOT IN (0, 3)",
		"‹int› BETWEEN 1 AND 5", "NOT (‹bool›)", "(‹bool› AND ‹bool›)", "(‹bool› OR ‹bool›)", "‹str› IS NULL", "‹int› IS NOT NULL", "‹int› IS DISTINCT FROM ‹int›", "‹ts› < ‹ts›", "‹date› >= DATE '2020-01-01'",
		"list_contains(‹ints›, 1)", "‹wild› > 0", "isnan(‹wild›)", "‹wild› = ‹wild›", "starts_with(‹str›, 'a')", "regexp_matches(‹str›, '^a')", "‹struct› = ‹struct›", "‹struct›.a > 1", "‹iv› > INTERVAL '1 day'", "‹ints› = ‹ints›",
		"‹uuid› < ‹uuid›", "‹blob› = ‹blob›", "‹enum› > 'x'", "‹dec› <> ‹dec›", "‹huge› > 6", "‹bool› IS TRUE", "contains(‹str›, '%')", "TRY_CAST(‹str› AS INTEGER) IS NOT NULL", "(‹int›, ‹str›) IN ((1, 'a'), (2, 'ab'))",
		"‹str› SIMILAR TO 'a.*'", "‹str› GLOB 'a*'", "‹strs› && ['a']", "‹map› = ‹map›", "‹tz› < ‹tz›", "‹time› > TIME '12:00:00'"},
	"ints": {"list_transform(‹ints›, lambda x: x + ‹int›)", "list_filter(‹ints›, lambda x: x > 1)", "list_sort(‹ints›)", "‹ints› || [9]", "CAST([‹int›, ‹int›] AS INTEGER[])", "list_distinct(‹ints›)", "‹ints›[1:1]", "list_reverse(‹ints›)",
		"[x + 1 FOR x IN ‹ints› IF x > 0]", "list_transform(‹ints›, lambda x, i: x * i)", "CAST(range((abs(‹int›) % 4)::INTEGER) AS INTEGER[])", "list_transform(‹ints›, lambda x: len(list_filter(‹ints›, lambda y: y >= x)))", "map_values(‹map›)", "CAST(list_append(‹ints›, ‹int›) AS INTEGER[])", "flatten([‹ints›, ‹ints›])"},
	"strs":   {"string_split(‹str›, 'a')", "list_transform(‹strs›, lambda x: upper(x) || ‹str›)", "[‹str›, 'z']", "map_keys(‹map›)", "regexp_extract_all(‹str›, '[a-z]')", "list_transform(‹ints›, lambda x: x::VARCHAR)"},
	"struct": {"{'a': (‹int› % 100)::INTEGER, 'b': ‹str›}", "struct_pack(a := 1, b := ‹str›)"},
	"map":    {"MAP {'q': (‹int› % 50)::INTEGER}", "map_from_entries([('a', (‹int› % 9)::INTEGER)])", "map_concat(‹map›, MAP {'z': 1})"},
	"blob":   {"‹str›::BLOB", "‹blob› || ‹blob›", "encode(‹str›)"},
	"uuid":   {"md5(coalesce(‹str›, ''))::UUID"},
	"enum":   {},
}
