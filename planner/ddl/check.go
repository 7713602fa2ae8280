package ddl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is what an option's value must be.
type Kind uint8

const (
	String Kind = iota
	Int
	Bool
	// Duration is '500ms', '1 second', '2 minutes 30 seconds', '1h30m' or an ISO 8601 'PT1S'.
	Duration
	// Bytes is '64MiB', '64 MB' or a plain number of bytes.
	Bytes
	// Enum is one of OptionSpec.Enum; case does not matter.
	Enum
	// List is ['a', 'b'], or a string with commas between the items.
	List
)

func (k Kind) String() string {
	return [...]string{"string", "integer", "boolean", "duration", "size", "enum", "list"}[k]
}

// OptionSpec describes one option that a connector or the pipeline knows.
type OptionSpec struct {
	// Name is in lower case.
	Name string
	Kind Kind
	// Enum lists the values of an Enum, in lower case.
	Enum     []string
	Required bool
	// Default is written as a user would write it; "" leaves the zero value.
	Default string
	// Min and Max bound an Int, a Duration in nanoseconds and Bytes. Max 0 means no limit. The zero Min
	// refuses negative values.
	Min, Max int64
	// Doc is one sentence for help and documents.
	Doc string
}

// Values are checked options, with typed getters that panic if the spec has no such option or it is of
// another kind: that is a mistake in the program, not in the user's file.
type Values struct {
	values map[string]value
	opts   Options
}

type value struct {
	kind  Kind
	given bool
	text  string
	n     int64 // Int, Bytes, Duration; 1 for true
	list  []string
}

// Has says that the context knows an option.
func (v Values) Has(name string) bool {
	_, ok := v.values[name]
	return ok
}

// Check compares an option list with what the context knows, for example `connector "file"`. The error is
// an Errors with every problem: unknown names, wrong types, missing and duplicate options.
func Check(opts Options, context string, specs []OptionSpec) (Values, error) {
	v := Values{values: map[string]value{}, opts: opts}
	var errs Errors
	var names []string
	misspelt := map[string]bool{} // Why: a misspelt option is not missing as well.
	for _, spec := range specs {
		names = append(names, spec.Name)
		zero := value{kind: spec.Kind}
		if spec.Default != "" {
			var problem string
			if zero, problem, _ = parseValue(spec, Option{Value: spec.Default}); problem != "" {
				panic(fmt.Sprintf("ddl: default %q of option %s: %s", spec.Default, spec.Name, problem))
			}
		}
		v.values[spec.Name] = zero
	}
	for i, o := range opts.Items {
		at := slices.IndexFunc(specs, func(s OptionSpec) bool { return s.Name == o.Key.Name })
		if at < 0 {
			errs = append(errs, unknownOption(opts, o, context, names))
			misspelt[Suggest(o.Key.Name, names)] = true
			continue
		}
		if slices.ContainsFunc(opts.Items[:i], func(other Option) bool { return other.Key.Name == o.Key.Name }) {
			errs = append(errs, opts.errorf(o.Key.Span, "option %s of %s is given twice", quote(o.Key.Name), context))
			continue
		}
		parsed, problem, hint := parseValue(specs[at], o)
		if problem != "" {
			errs = append(errs, opts.errorf(o.ValueSpan, "option %s of %s %s", quote(o.Key.Name), context, problem).WithHint("%s", hint))
			continue
		}
		parsed.given = true
		v.values[o.Key.Name] = parsed
	}
	for _, spec := range specs {
		if _, ok := opts.Lookup(spec.Name); !ok && spec.Required && !misspelt[spec.Name] {
			errs = append(errs, opts.errorf(opts.head(), "%s needs option %s", context, quote(spec.Name)).
				WithHint("add %s = %s%s", spec.Name, example(spec), docSuffix(spec)))
		}
	}
	return v, errs.err()
}

func unknownOption(opts Options, o Option, context string, names []string) *Error {
	e := opts.errorf(o.Key.Span, "unknown option %s of %s", quote(o.Key.Name), context)
	if best := Suggest(o.Key.Name, names); best != "" {
		return e.WithHint("did you mean %s?", quote(best))
	}
	return e.WithHint("the options are %s", strings.Join(names, ", "))
}

func example(spec OptionSpec) string {
	switch spec.Kind {
	case Enum:
		return "'" + strings.Join(spec.Enum, "' or '") + "'"
	case Int:
		return "1"
	case Bool:
		return "true"
	case Duration:
		return "'1 second'"
	case Bytes:
		return "'64MiB'"
	}
	return "'…'"
}

func docSuffix(spec OptionSpec) string {
	if spec.Doc == "" {
		return ""
	}
	return ": " + spec.Doc
}

// parseValue reads an option by its spec. The problem continues the words "option x of y"; it never shows
// a secret.
func parseValue(spec OptionSpec, o Option) (v value, problem, hint string) {
	v = value{kind: spec.Kind, text: o.Value, list: o.List}
	shown := quote(o.Value)
	if o.Secret {
		shown = Redacted
	}
	if o.Form == ListValue && spec.Kind != List {
		return v, "takes one value, not a list", fmt.Sprintf("write %s = %s", spec.Name, example(spec))
	}
	var err error
	switch spec.Kind {
	case Int:
		if v.n, err = strconv.ParseInt(o.Value, 10, 64); err != nil {
			return v, "must be a whole number, not " + shown, fmt.Sprintf("write %s = %s", spec.Name, exampleOf(spec))
		}
	case Bool:
		switch strings.ToLower(o.Value) {
		case "true", "on", "yes", "1":
			v.n = 1
		case "false", "off", "no", "0":
		default:
			return v, "must be true or false, not " + shown, fmt.Sprintf("write %s = true or %s = false", spec.Name, spec.Name)
		}
	case Duration:
		var d time.Duration
		if d, err = ParseDuration(o.Value); err != nil {
			return v, "must be a duration, not " + shown, "write a number with its unit, as in '500ms', '1 second', '5 minutes' or '1h30m'"
		}
		v.n = int64(d)
	case Bytes:
		if v.n, err = ParseBytes(o.Value); err != nil {
			return v, "must be a size, not " + shown, "write a number with its unit, as in '64MiB' or '2GB'"
		}
	case Enum:
		v.text = strings.ToLower(o.Value)
		if !slices.Contains(spec.Enum, v.text) {
			if best := Suggest(o.Value, spec.Enum); best != "" && !o.Secret {
				return v, "cannot be " + shown, "did you mean '" + best + "'?"
			}
			return v, "cannot be " + shown, "write one of '" + strings.Join(spec.Enum, "', '") + "'"
		}
	case List:
		if o.Form != ListValue {
			v.list = splitList(o.Value)
		}
	case String:
	}
	if problem := outOfRange(spec, v.n); problem != "" {
		return v, problem, ""
	}
	return v, "", ""
}

func exampleOf(spec OptionSpec) string {
	if spec.Default != "" {
		return spec.Default
	}
	return example(spec)
}

// outOfRange says how a value is out of its option's bounds.
func outOfRange(spec OptionSpec, n int64) string {
	shown := func(n int64) string {
		switch spec.Kind {
		case Duration:
			return time.Duration(n).String()
		case Bytes:
			return FormatBytes(n)
		}
		return strconv.FormatInt(n, 10)
	}
	switch {
	case spec.Kind != Int && spec.Kind != Duration && spec.Kind != Bytes:
	case n < spec.Min:
		return "must be at least " + shown(spec.Min)
	case spec.Max > 0 && n > spec.Max:
		return "must be at most " + shown(spec.Max)
	}
	return ""
}

func splitList(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

func (v Values) get(name string, kinds ...Kind) value {
	got, ok := v.values[name]
	if !ok || !slices.Contains(kinds, got.kind) {
		panic(fmt.Sprintf("ddl: option %q is asked for as %v but the spec has %v (known: %t)", name, kinds, got.kind, ok))
	}
	return got
}

// Given says whether the user wrote the option, so that it is not just the default.
func (v Values) Given(name string) bool { return v.values[name].given }

// String returns a String or an Enum, the latter in lower case.
func (v Values) String(name string) string { return v.get(name, String, Enum).text }

// Int returns an Int.
func (v Values) Int(name string) int64 { return v.get(name, Int).n }

// Bool returns a Bool.
func (v Values) Bool(name string) bool { return v.get(name, Bool).n == 1 }

// Duration returns a Duration.
func (v Values) Duration(name string) time.Duration { return time.Duration(v.get(name, Duration).n) }

// Bytes returns a size in bytes.
func (v Values) Bytes(name string) int64 { return v.get(name, Bytes).n }

// List returns the items of a List.
func (v Values) List(name string) []string { return v.get(name, List).list }

// Errorf returns an error at the option's value: for what only the connector can know to be wrong.
func (v Values) Errorf(name, format string, args ...any) *Error {
	return v.opts.Errorf(name, format, args...)
}
