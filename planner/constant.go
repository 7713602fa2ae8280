package planner

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"

	"github.com/sluice-sql/sluice/internal/vector"
)

func quoteIdent(s string) string { return vector.QuoteIdent(s) }

// printConstant prints a literal so that binding it gives the same constant again.
func printConstant(c *constant) (string, error) {
	if c.IsNull {
		if c.Type.ID == "NULL" {
			return "NULL", nil
		}
		t, err := c.Type.sql()
		return "CAST(NULL AS " + t + ")", err
	}
	switch c.Type.ID {
	case "INTEGER", "BIGINT":
		return string(c.Value), nil // a bare literal takes the narrowest of the two, as it did when first bound
	case "BOOLEAN", "TINYINT", "SMALLINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT":
		return castTo(string(c.Value), c.Type)
	case "HUGEINT", "UHUGEINT":
		return printHuge(c)
	case "DOUBLE":
		if strings.ContainsAny(string(c.Value), "eE") {
			return string(c.Value), nil
		}
		return string(c.Value) + "e0", nil // without an exponent it would be a DECIMAL
	case "DECIMAL":
		return printDecimal(c)
	case "VARCHAR":
		var s string
		if err := json.Unmarshal(c.Value, &s); err != nil {
			return "", fmt.Errorf("constant %s: %w", c.Value, err)
		}
		if strings.ContainsRune(s, 0) {
			return "", fmt.Errorf("constant text with a NUL")
		}
		return quote(s), nil
	}
	return "", fmt.Errorf("constant of type %s", c.Type.ID)
}

func castTo(text string, t planType) (string, error) {
	ts, err := t.sql()
	return "CAST(" + text + " AS " + ts + ")", err
}

func printHuge(c *constant) (string, error) {
	var h struct {
		Upper json.Number `json:"upper"`
		Lower json.Number `json:"lower"`
	}
	if err := json.Unmarshal(c.Value, &h); err != nil {
		return "", fmt.Errorf("constant %s: %w", c.Value, err)
	}
	up, ok1 := new(big.Int).SetString(string(h.Upper), 10)
	lo, ok2 := new(big.Int).SetString(string(h.Lower), 10)
	if !ok1 || !ok2 {
		return "", fmt.Errorf("constant %s is not a HUGEINT", c.Value)
	}
	return castTo("'"+up.Lsh(up, 64).Add(up, lo).String()+"'", c.Type)
}

func printDecimal(c *constant) (string, error) {
	digits := string(c.Value)
	if strings.HasPrefix(digits, "{") {
		return "", fmt.Errorf("constant DECIMAL of more than 18 digits")
	}
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	scale := int(c.Type.Info.Scale)
	for len(digits) <= scale {
		digits = "0" + digits
	}
	text := sign + digits[:len(digits)-scale]
	if scale > 0 {
		text += "." + digits[len(digits)-scale:]
	}
	return text, nil
}
