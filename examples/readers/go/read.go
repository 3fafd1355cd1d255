// Print both credentials of an application: go mod tidy && go run read.go APP_ID
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/gomodule/redigo/redis"
)

func main() {
	url := os.Getenv("REDIS_URL")
	if url == "" {
		url = "redis://127.0.0.1:6379/0"
	}
	client, err := redis.DialURL(url, redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, name := range []string{"server_access_token", "js_ticket"} {
		key := fmt.Sprintf("type/%s_info/app_id/%s", name, os.Args[1])
		value, err := redis.Bytes(client.Do("GET", key))
		if err == redis.ErrNil {
			log.Fatalf("nothing is stored under %s: run token-refresher status", key)
		} else if err != nil {
			log.Fatal(err)
		}
		var record map[string]any
		if err := json.Unmarshal(value, &record); err != nil {
			log.Fatal(err)
		}
		fmt.Println(record[name])
	}
}
