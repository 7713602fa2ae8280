package checkpointstore

// fanIn is how many objects of a level the next one up takes the place of.
//
// Why levels: an object a batch would make manifests long and restores slow, and uploading the segment again
// every time would send it a thousand times. So a byte is sent at most once a level, and a segment of ten
// thousand batches has some forty objects.
const fanIn = 12

// nextPart says where the next object of a growing file begins, and its level: after the objects that stay.
func nextPart(have []object) (keep, level int) {
	keep = len(have)
	for {
		same := 0
		for same < keep && have[keep-1-same].level <= level {
			same++
		}
		if same < fanIn {
			return keep, level
		}
		keep, level = keep-same, level+1
	}
}
