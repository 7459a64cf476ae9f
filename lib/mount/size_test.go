package mount

import "testing"

func TestCheckSize(t *testing.T) {
	for _, size := range []string{"1", "65536", "64K", "64k", "512M", "2g", "1T"} {
		for _, percent := range []bool{false, true} {
			if err := CheckSize(size, percent); err != nil {
				t.Errorf("CheckSize(%q, %v): %v", size, percent, err)
			}
		}
	}
	for _, size := range []string{"", "0", "0M", "00", "M", "%", "-1", "+1", "1.5G", "64KB", "64KK", "6 4", " 1", "0x10", "1e3", "1_0", "12,mode=777", "99999999999G", "99999999999999999999"} {
		for _, percent := range []bool{false, true} {
			if CheckSize(size, percent) == nil {
				t.Errorf("CheckSize(%q, %v): no error", size, percent)
			}
		}
	}
	if CheckSize("50%", true) != nil || CheckSize("50%", false) == nil || CheckSize("0%", true) == nil || CheckSize("5%%", true) == nil {
		t.Error("per cent")
	}
}
