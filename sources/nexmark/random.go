package nexmark

import (
	"math/big"
	"math/bits"
	"sync"
)

// golden is SplitMix64's increment: 2^64 divided by the golden ratio.
const golden = 0x9E3779B97F4A7C15

// mix is SplitMix64's output function (Steele, Lea and Flood, 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// draws an event may make: each has a number of its own, so no value depends on which others are wanted.
const (
	drawHot = iota
	drawChoice
	drawPerson
	drawPersonChoice
	drawPrice
	drawReserve
	drawChannel
	drawExtra
	drawName
	drawDescription
	drawCategory
	drawExpires
	drawEmail
	drawCard
	drawCity
	drawsPerEvent = 32
)

// draw is the random word of one draw of an event.
func (g *generator) draw(event int64, which uint64) uint64 {
	return mix(g.key + (uint64(event)*drawsPerEvent+which)*golden)
}

// below maps a random word to 0..n-1.
func below(word uint64, n int64) int64 {
	hi, _ := bits.Mul64(word, uint64(n))
	return int64(hi)
}

// priceSteps is how many segments of a decade the price table has.
const priceSteps = 1024

// priceTable holds 10^(i/priceSteps) in 32.32 fixed point. It is made with big.Float, whose results do
// not depend on the machine, unlike math.Pow.
var priceTable = sync.OnceValue(func() *[priceSteps + 1]uint64 {
	const prec = 200
	root := big.NewFloat(10).SetPrec(prec)
	for n := 1; n < priceSteps; n *= 2 {
		root = new(big.Float).SetPrec(prec).Sqrt(root)
	}
	var t [priceSteps + 1]uint64
	v := new(big.Float).SetPrec(prec).SetMantExp(big.NewFloat(1), 32)
	for i := range t {
		t[i], _ = new(big.Float).Add(v, big.NewFloat(0.5)).Uint64()
		v.Mul(v, root)
	}
	return &t
})

// price is 100·10^(6u) for a uniform u: most prices are low, a few are a million times higher.
func price(word uint64) int64 {
	table := priceTable()
	segment, rest := bits.Mul64(word, 6*priceSteps)
	k := segment % priceSteps
	value := table[k] + (table[k+1]-table[k])>>8*(rest>>56)
	scale := uint64(100)
	for range segment / priceSteps {
		scale *= 10
	}
	return int64((value*scale + 1<<31) >> 32)
}

// letters appends n random lower-case letters.
func letters(dst []byte, word uint64, n int) []byte {
	for ; n > 0; word += golden {
		for w, i := mix(word), 0; i < 8 && n > 0; i, n, w = i+1, n-1, w>>8 {
			dst = append(dst, 'a'+byte((w&0xff)*26>>8))
		}
	}
	return dst
}

// phrase appends 3 to max letters with a space now and then.
func phrase(dst []byte, word uint64, max int64) []byte {
	start := len(dst)
	dst = letters(dst, word, 3+int(below(word, max-2)))
	for i := start + 1; i < len(dst)-1; i++ {
		if dst[i] <= 'b' && dst[i-1] != ' ' {
			dst[i] = ' '
		}
	}
	return dst
}

// padding appends letters so that a row of so many bytes gets near the average size, up to 20 % off.
func padding(dst []byte, word uint64, used, average int64) []byte {
	if used >= average {
		return dst
	}
	want := average - used
	delta := (want + 2) / 5
	return letters(dst, word, int(want-delta+below(word, 2*delta+1)))
}
