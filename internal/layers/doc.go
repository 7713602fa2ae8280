// Package layers holds no code but the test of the rules by which packages may import each other.
package layers
