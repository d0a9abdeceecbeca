package main

import (
	"net/http"

	"github.com/sseplane/sseplane/broker"
)

func (a *api) disconnects(w http.ResponseWriter, _ *http.Request, _ []string) error {
	answer(w, http.StatusOK, a.gone.list())
	return nil
}

func (a *api) healthy(w http.ResponseWriter, _ *http.Request, _ []string) error {
	return state(w, a.broker.Healthy())
}

func (a *api) ready(w http.ResponseWriter, _ *http.Request, _ []string) error {
	return state(w, a.broker.Ready())
}

func state(w http.ResponseWriter, err error) error {
	if err != nil {
		return refuse(http.StatusServiceUnavailable, "%v", err)
	}
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

func (a *api) stats(w http.ResponseWriter, _ *http.Request, _ []string) error {
	s := a.broker.Stats()
	answer(w, http.StatusOK, struct {
		broker.Stats
		Position string `json:"position"`
	}{s, s.Position.String()})
	return nil
}
