package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// presence asks a replica who is there: sessions by client.
func presence(ctx context.Context, url string) (map[string][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/presence", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	var all []struct {
		Client   string `json:"client"`
		Sessions []struct {
			ID string `json:"id"`
		} `json:"sessions"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		return nil, err
	}
	present := map[string][]string{}
	for _, c := range all {
		for _, s := range c.Sessions {
			present[c.Client] = append(present[c.Client], s.ID)
		}
	}
	return present, nil
}

// untrue says how presence differs from what the clients have, "" if it does not.
func untrue(present map[string][]string, readers []*reader) string {
	real := map[string][]string{}
	for _, r := range readers {
		if session, _ := r.progress(); session != "" {
			real[r.name] = []string{session}
		}
	}
	for name, sessions := range present {
		if !slices.Equal(sessions, real[name]) {
			return fmt.Sprintf("%s is said to have the sessions %v, and has %v", name, sessions, real[name])
		}
	}
	for name, sessions := range real {
		if len(present[name]) == 0 {
			return fmt.Sprintf("%s is said to be away, and has %v", name, sessions)
		}
	}
	return ""
}
