package term

import (
	"testing"
	"time"
)

func TestFormats(t *testing.T) {
	for got, want := range map[string]string{
		Count(0): "0", Count(999): "999", Count(1000): "1,000", Count(-1234567): "-1,234,567", Count(-999): "-999",
		Rate(0): "0", Rate(12.4): "12", Rate(999.4): "999", Rate(999.6): "1.00k", Rate(98230): "98.2k", Rate(123456): "123k",
		Rate(999999): "1.00M", Rate(1.25e6): "1.25M", Rate(2e9): "2.00G",
		Bytes(0): "0 B", Bytes(999): "999 B", Bytes(1536): "1.50 KiB", Bytes(64 << 20): "64.0 MiB", Bytes(999 << 30): "999 GiB",
		Bytes(1023): "1.00 KiB", Bytes(5 << 50): "5120 TiB",
		Duration(0): "0µs", Duration(850 * time.Millisecond): "850ms", Duration(3200 * time.Millisecond): "3.2s",
		Duration(59960 * time.Millisecond): "1m00s", Duration(65 * time.Second): "1m05s", Duration(127 * time.Minute): "2h07m",
		Duration(76 * time.Hour): "3d04h", Duration(-time.Second): "-1.0s", Duration(59*time.Minute + 59900*time.Millisecond): "1h00m",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
