package main

import (
	"fmt"
	"os"
)

// watch tries, until its standard input ends, to get out by processes that come into view.
func watch(words []string) (string, error) {
	end := make(chan struct{})
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		close(end)
	}()
	fmt.Println("watching")
	for rounds := 0; ; rounds++ {
		if reached, _ := writeExecutables(nil); reached != "" { // why one of them is held is said elsewhere
			return reached, nil
		}
		if reached, _ := throughProc(words); reached != "" {
			return reached, nil
		}
		select {
		case <-end:
			return "", fmt.Errorf("nothing in %d rounds", rounds)
		default:
		}
	}
}
