package decode

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/internal/vector"
)

// typeCases are values of events: the declared type, the field's schema ("" for an event without one), the
// JSON value and the text of what it is, or ! and how the reason begins.
var typeCases = []struct{ declared, schema, value, want string }{
	{"DATE", `"type":"int32","name":"io.debezium.time.Date"`, `19724`, "2024-01-02"},
	{"DATE", `"type":"int32","name":"org.apache.kafka.connect.data.Date"`, `-1`, "1969-12-31"},
	{"DATE", ``, `19724`, "2024-01-02"},
	{"DATE", ``, `"2024-01-02"`, "2024-01-02"},
	{"DATE", ``, `2147483647`, "!column v: '2147483647' is out of range for DATE"},
	{"DATE", ``, `1.5`, "!column v: '1.5' is not a DATE"},
	{"DATE", `"type":"int64","name":"io.debezium.time.MicroTimestamp"`, `-1`, "1969-12-31"},
	{"DATE", `"type":"string","name":"io.debezium.time.IsoDate"`, `"2024-01-02Z"`, "2024-01-02"},
	{"INTEGER", `"type":"int32","name":"io.debezium.time.Date"`, `19724`, "19724"},
	{"TIMESTAMP", `"type":"int64","name":"io.debezium.time.Timestamp"`, `1704190272123`, "2024-01-02 10:11:12.123"},
	{"TIMESTAMP", `"type":"int64","name":"io.debezium.time.MicroTimestamp"`, `1704190272123456`, "2024-01-02 10:11:12.123456"},
	{"TIMESTAMP", `"type":"int64","name":"io.debezium.time.NanoTimestamp"`, `1704190272123456789`, "2024-01-02 10:11:12.123456"},
	{"TIMESTAMP", `"type":"int64","name":"org.apache.kafka.connect.data.Timestamp"`, `-1`, "1969-12-31 23:59:59.999"},
	{"TIMESTAMP", `"type":"string","name":"io.debezium.time.ZonedTimestamp"`, `"2024-01-02T10:11:12.123456Z"`, "2024-01-02 10:11:12.123456"},
	{"TIMESTAMP WITH TIME ZONE", `"type":"string","name":"io.debezium.time.ZonedTimestamp"`, `"2024-01-02T10:11:12+02:00"`, "2024-01-02 08:11:12+00"},
	{"TIMESTAMP", `"type":"int64"`, `1704190272123`, "!column v: '1704190272123' is not a TIMESTAMP"},
	{"TIMESTAMP", `"type":"int32","name":"io.debezium.time.Date"`, `19724`, "2024-01-02 00:00:00"},
	{"TIMESTAMP", ``, `1704190272123456`, "2024-01-02 10:11:12.123456"},
	{"TIMESTAMP_MS", ``, `1704190272123`, "2024-01-02 10:11:12.123"},
	{"TIMESTAMP_NS", ``, `1704190272123456789`, "2024-01-02 10:11:12.123456789"},
	{"TIMESTAMP_S", ``, `1704190272123456`, "2024-01-02 10:11:12"},
	{"TIMESTAMP WITH TIME ZONE", ``, `1704190272123456`, "2024-01-02 10:11:12.123456+00"},
	{"TIMESTAMP", ``, `9223372036825200000`, "infinity"},
	{"TIMESTAMP", ``, `-9223372036832400000`, "-infinity"},
	{"TIMESTAMP", ``, `9223372036854775807`, "!column v: '9223372036854775807' is out of range for TIMESTAMP"},
	{"TIMESTAMP", ``, `-9223372036854775808`, "!column v: '-9223372036854775808' is out of range for TIMESTAMP"},
	{"TIMESTAMP", ``, `9223372036854775808`, "!column v: '9223372036854775808' is not a TIMESTAMP"},
	{"TIMESTAMP", `"type":"int64","name":"io.debezium.time.Timestamp"`, `9223372036854776`, "!column v: '9223372036854776' is out of range"},
	{"TIMESTAMP", `"type":"int64","name":"io.debezium.time.MicroTime"`, `1`, "!column v: '1' is not a TIMESTAMP"},
	{"BIGINT", `"type":"int64","name":"io.debezium.time.MicroTimestamp"`, `1704190272123456`, "1704190272123456"},
	{"TIME", `"type":"int32","name":"io.debezium.time.Time"`, `36672123`, "10:11:12.123"},
	{"TIME", `"type":"int64","name":"io.debezium.time.MicroTime"`, `36672123456`, "10:11:12.123456"},
	{"TIME", `"type":"int64","name":"io.debezium.time.NanoTime"`, `36672123456789`, "10:11:12.123456"},
	{"TIME", ``, `36672123456`, "10:11:12.123456"},
	{"TIME", ``, `86400000001`, "!column v: '86400000001' is out of range for TIME"},
	{"TIME", ``, `-1`, "!column v: '-1' is out of range for TIME"},
	{"INTERVAL", `"type":"int64","name":"io.debezium.time.MicroTime"`, `-3020399000000`, "-838:59:59"},
	{"TIME WITH TIME ZONE", `"type":"string","name":"io.debezium.time.ZonedTime"`, `"10:11:12Z"`, "10:11:12+00"},
	{"INTERVAL", `"type":"int64","name":"io.debezium.time.MicroDuration"`, `90061000001`, "25:01:01.000001"},
	{"INTERVAL", `"type":"string","name":"io.debezium.time.Interval"`, `"P1Y2M3DT4H5M6.78S"`, "1 year 2 months 3 days 04:05:06.78"},
	{"TIME WITH TIME ZONE", ``, `"10:11:12.5Z"`, "10:11:12.5+00"},
	{"TIME WITH TIME ZONE", ``, `"10:11:12+02:00"`, "10:11:12+02"},
	{"TIME WITH TIME ZONE", ``, `"Z"`, "!column v: ''"},
	{"TIME WITH TIME ZONE", ``, `1`, "!column v: '1' is not a TIME WITH TIME ZONE"},
	{"TIME", `"type":"string","name":"io.debezium.time.IsoTime"`, `"10:11:12.123456Z"`, "10:11:12.123456"},
	{"TIME", `"type":"string","name":"io.debezium.time.ZonedTime"`, `"10:11:12Z"`, "10:11:12"},
	{"INTERVAL", ``, `"P-1Y-2M3DT-4H5M-6.78S"`, "-1 year -2 months 3 days -03:55:06.78"},
	{"INTERVAL", ``, `"P0Y0M0DT0H0M0.0S"`, "00:00:00"},
	{"INTERVAL", ``, `"P1W"`, "7 days"},
	{"INTERVAL", ``, `"P1Y2X"`, "!column v: 'P1Y2X' is not an INTERVAL"},
	{"INTERVAL", ``, `"P"`, "!column v: 'P' is not an INTERVAL"},
	{"INTERVAL", ``, `"PT1.5H"`, "!column v: 'PT1.5H' is not an INTERVAL"},
	{"INTERVAL", ``, `"P999999999Y"`, "!column v: 'P999999999Y' is not an INTERVAL"},
	{"INTERVAL", ``, `"PT1H1H"`, "!column v: 'PT1H1H' is not an INTERVAL"},
	{"INTERVAL", ``, `"PT99999999999999999999S"`, "!column v:"},
	{"INTERVAL", ``, `"1 day"`, "1 day"},
	{"INTERVAL", ``, `1000000`, "00:00:01"},
	{"DECIMAL(10,2)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2","connect.decimal.precision":"10"}`, `"MDk="`, "123.45"},
	{"DECIMAL(10,2)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}`, `"/w=="`, "-0.01"},
	{"DECIMAL(10,4)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}`, `"MDk="`, "123.4500"},
	{"DECIMAL(10,1)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}`, `"MDk="`, "123.5"},
	{"DECIMAL(3,2)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}`, `"MDk="`, "!column v: '123.45' is not a DECIMAL(3,2)"},
	{"DECIMAL(10,2)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}`, `""`, "!column v: a decimal has no digits"},
	{"DECIMAL(10,2)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}`, `"1.5"`, "!column v: '1.5' is not base64"},
	{"DECIMAL(10,2)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal"`, `"MDk="`, "!column v: the event does not say how many digits"},
	{"DECIMAL(10,2)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}`, `123.45`, "123.45"},
	{"DECIMAL(38,0)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"0"}`, `"SztMqFqGxHoJiiJAAAAAAA=="`, "!column v: '100000000000000000000000000000000000000' is not a DECIMAL(38,0)"},
	{"DECIMAL(38,0)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"0"}`, `"SztMqFqGxHoJiiI//////w=="`, "99999999999999999999999999999999999999"},
	{"DECIMAL(38,0)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"0"}`, `"tMSzV6V5O4X2dd3AAAAAAQ=="`, "-99999999999999999999999999999999999999"},
	{"DECIMAL(38,0)", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"0"}`, `"AAAAHWMp8cNcpL+rufVhAAAAAAU="`, "!column v: '1000000000000000000000000000000000000000"},
	{"VARCHAR", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"0"}`, `"AAAAHWMp8cNcpL+rufVhAAAAAAU="`, "10000000000000000000000000000000000000005"},
	{"DECIMAL(10,2)", ``, `"MDk="`, "123.45"},
	{"DECIMAL(10,2)", ``, `123.45`, "123.45"},
	{"DECIMAL(10,2)", ``, `"123.45"`, "!column v: '123.45' is not base64, in which events have DECIMAL(10,2); decimals as text are read with decimal_handling_mode = 'string'"},
	{"DECIMAL(10,2)", `"type":"struct","name":"io.debezium.data.VariableScaleDecimal"`, `{"scale":1,"value":"BNI="}`, "123.40"},
	{"DECIMAL(10,2)", ``, `{"value":"BNI=","scale":3,"more":[1]}`, "1.23"},
	{"DECIMAL(10,2)", ``, `{"scale":1}`, "!column v: a decimal's object has no value"},
	{"DECIMAL(10,2)", ``, `{"value":"BNI="}`, "!column v: the event does not say how many digits"},
	{"DECIMAL(10,2)", ``, `{"value":"BNI=","scale":99999}`, "!column v: the event does not say how many digits"},
	{"DECIMAL(10,2)", ``, `{"value":"BNI=","scale":-2}`, "123400.00"},
	{"DOUBLE", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}`, `"MDk="`, "123.45"},
	{"VARCHAR", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"5"}`, `"MDk="`, "0.12345"},
	{"VARCHAR", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"0"}`, `"z8c="`, "-12345"},
	{"BIGINT", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"0"}`, `"MDk="`, "12345"},
	{"BIGINT", `"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}`, `"MDk="`, "!column v: '123.45' is not a BIGINT"},
	{"DOUBLE", `"type":"double"`, `1.5`, "1.5"},
	{"UUID", `"type":"string","name":"io.debezium.data.Uuid"`, `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
	{"VARCHAR", `"type":"string","name":"io.debezium.data.Json"`, `"{\"a\": [1, 2]}"`, `{"a": [1, 2]}`},
	{"VARCHAR", `"type":"string","name":"io.debezium.data.Enum","parameters":{"allowed":"new,paid"}`, `"paid"`, "paid"},
	{"ENUM('new', 'paid')", `"type":"string","name":"io.debezium.data.Enum","parameters":{"allowed":"new,paid"}`, `"paid"`, "paid"},
	{"ENUM('new', 'paid')", ``, `"lost"`, "!column v: 'lost' is not an ENUM"},
	{"BLOB", `"type":"bytes"`, `"3q2+7w=="`, `\xDE\xAD\xBE\xEF`},
	{"BLOB", ``, `"3q2+7w=="`, `\xDE\xAD\xBE\xEF`},
	{"BLOB", ``, `"?"`, "!column v: '?' is not base64, in which events have BLOB"},
	{"BLOB", `"type":"string"`, `"text"`, "text"},
	{"BLOB", `"type":"bytes","name":"io.debezium.data.Bits","parameters":{"length":"10"}`, `"AQI="`, `\x01\x02`},
	{"BLOB", `"type":"bytes"`, `"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="`, "!column v: the event does not have its value"},
	{"VARCHAR", `"type":"bytes"`, `"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="`, "!column v: the event does not have its value"},
	{"VARCHAR[]", `"type":"array","items":{"type":"string"}`, `["__debezium_unavailable_value"]`, "!column v: the event does not have its value"},
	{"BOOLEAN", `"type":"boolean"`, `true`, "true"},
	{"SMALLINT", `"type":"int16"`, `-32768`, "-32768"},
	{"INTEGER", `"type":"int32","name":"io.debezium.time.Year"`, `2024`, "2024"},
	{"INTEGER[]", `"type":"array","items":{"type":"int32"}`, `[1,null,3]`, "[1,null,3]"},
	{"DATE[]", `"type":"array","items":{"type":"int32","name":"io.debezium.time.Date"}`, `[19724,null]`, `["2024-01-02",null]`},
	{"DATE[]", ``, `[19724]`, `["2024-01-02"]`},
	{"MAP(VARCHAR, VARCHAR)", `"type":"map","keys":{"type":"string"},"values":{"type":"string"}`, `{"k":"v"}`, `{"k":"v"}`},
	{`STRUCT("wkb" BLOB, "srid" INTEGER)`, `"type":"struct","fields":[{"type":"bytes","field":"wkb"},{"type":"int32","field":"srid"}],"name":"io.debezium.data.geometry.Geometry"`, `{"wkb":"3q0=","srid":4326}`, `{"wkb":"\\xDE\\xAD","srid":4326}`},
	{`STRUCT("x" DOUBLE, "y" DOUBLE)`, `"type":"struct","fields":[{"type":"double","field":"x"},{"type":"double","field":"y"},{"type":"bytes","field":"wkb"}],"name":"io.debezium.data.geometry.Point"`, `{"x":1.5,"y":2.0,"wkb":"AQ=="}`, `{"x":1.5,"y":2.0}`},
}

// Every value alone in an event, before and after, with the schema first and last.
func TestDebeziumTypes(t *testing.T) {
	o := newOracle(t)
	for _, tc := range typeCases {
		fields := []vector.Field{{Name: "v", Type: o.typeOf(t, tc.declared)}}
		payload := fmt.Sprintf(`{"before":{"v":%s},"after":{"v":%s},"op":"u"}`, tc.value, tc.value)
		events := []string{payload}
		if tc.schema != "" {
			image := func(name string) string {
				return fmt.Sprintf(`{"type":"struct","fields":[{"type":"int64","optional":false,"field":"other"},{%s,"optional":true,"field":"v"}],"optional":true,"name":"s.t.Value","field":"%s"}`, tc.schema, name)
			}
			schema := fmt.Sprintf(`{"type":"struct","fields":[%s,%s,{"type":"string","optional":false,"field":"op"}],"optional":false,"name":"s.t.Envelope","version":1}`, image("before"), image("after"))
			events = []string{`{"schema":` + schema + `,"payload":` + payload + `}`, `{"payload": ` + payload + `, "schema":` + schema + `}`}
		}
		for _, event := range events {
			rows, bad := decodeChanges(t, NewDebezium(fields, DebeziumOptions{}), fields, nil, event)
			if reason, refused := strings.CutPrefix(tc.want, "!"); refused {
				if len(bad) != 1 || !strings.HasPrefix(bad[0], reason) {
					t.Errorf("%s, %s: %s: rows %q, reasons %q, want %q", tc.declared, tc.schema, tc.value, rows, bad, reason)
				}
				continue
			}
			if want := []string{"-1 " + tc.want + " @0+0", "+1 " + tc.want + " @0+0"}; len(bad) > 0 || strings.Join(rows, "; ") != strings.Join(want, "; ") {
				t.Errorf("%s, %s: %s: rows %q, reasons %q, want %q", tc.declared, tc.schema, tc.value, rows, bad, tc.want)
			}
		}
	}
}

// Units and text decimals are for events without a schema; a schema says better.
func TestDebeziumOptions(t *testing.T) {
	o := newOracle(t)
	var fields []vector.Field
	for i, sql := range []string{"TIMESTAMP", "TIME", "DECIMAL(10,2)", "TIMESTAMP_MS"} {
		fields = append(fields, vector.Field{Name: fmt.Sprint("c", i), Type: o.typeOf(t, sql)})
	}
	bare := `{"after":{"c0":1704190272123,"c1":36672123,"c2":"1234","c3":1704190272123},"op":"c"}`
	dec := NewDebezium(fields, DebeziumOptions{TimestampUnit: Milliseconds, TimeUnit: Milliseconds, TextDecimals: true})
	field := func(i int, name string) string {
		return fmt.Sprintf(`{"type":"int64","name":"io.debezium.time.%s","field":"c%d"}`, name, i)
	}
	schema := `{"fields":[{"fields":[` + field(0, "MicroTimestamp") + `,` + field(1, "MicroTime") + `],"field":"after"}]}`
	rows, bad := decodeChanges(t, dec, fields, nil, bare, `{"schema":`+schema+`,"payload":`+bare+`}`, bare)
	first := "+1 2024-01-02 10:11:12.123 | 10:11:12.123 | 1234.00 | 2024-01-02 10:11:12.123 @"
	second := "!column c3: '1704190272123' is not a TIMESTAMP_MS"
	if len(rows) != 2 || rows[0] != first+"0+0" || rows[1] != first+"2+0" || len(bad) != 1 || bad[0] != second[1:] {
		t.Errorf("rows %q, reasons %q", rows, bad)
	}
}
