package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"github.com/sseplane/sseplane/broker"
)

// present is a client that is connected somewhere.
type present struct {
	Client   string         `json:"client"`
	Metadata map[string]any `json:"metadata"`
	Sessions []session      `json:"sessions"`
}

type session struct {
	ID   string `json:"id"`
	Node string `json:"node"`
}

func (a *api) presence(w http.ResponseWriter, r *http.Request, _ []string) error {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	all := []present{}
	for s, err := range a.broker.AllSessions(ctx) {
		if err != nil {
			return err
		}
		if n := len(all); n == 0 || all[n-1].Client != s.ClientID {
			all = append(all, present{Client: s.ClientID})
		}
		last := &all[len(all)-1]
		last.Sessions = append(last.Sessions, session{s.ID, s.NodeName})
	}
	if err := a.addAllMetadata(all); err != nil {
		return err
	}
	answer(w, http.StatusOK, all)
	return nil
}

func (a *api) presenceOf(w http.ResponseWriter, r *http.Request, names []string) error {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	sessions, err := a.broker.Sessions(ctx, names[0])
	if err != nil {
		return err
	}
	if len(sessions) == 0 {
		return broker.NewUnknownClientError(names[0])
	}
	p := present{Client: names[0]}
	for _, s := range sessions {
		p.Sessions = append(p.Sessions, session{s.ID, s.NodeName})
	}
	if err := a.addMetadata(&p); err != nil {
		return err
	}
	answer(w, http.StatusOK, p)
	return nil
}

// addAllMetadata asks for the metadata of many, some at a time.
func (a *api) addAllMetadata(all []present) error {
	const atATime = 16
	errs := make([]error, len(all))
	next := make(chan int)
	var asking sync.WaitGroup
	for range min(atATime, len(all)) {
		asking.Go(func() {
			for i := range next {
				errs[i] = a.addMetadata(&all[i])
			}
		})
	}
	for i := range all {
		next <- i
	}
	close(next)
	asking.Wait()
	return cmp.Or(errs...)
}

// addMetadata asks for the metadata of one client.
func (a *api) addMetadata(p *present) (err error) {
	p.Metadata, err = a.broker.GetClientMetadata(p.Client)
	var unknown *broker.UnknownClientError
	if errors.As(err, &unknown) { // it has left meanwhile
		p.Metadata, err = map[string]any{}, nil
	}
	return err
}

func (a *api) setMetadata(w http.ResponseWriter, r *http.Request, names []string) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	metadata, err := parseObject(body)
	if err != nil {
		return err
	}
	if err := a.broker.SetClientMetadata(names[0], metadata); err != nil {
		return err
	}
	return done(w)
}

func parseObject(body []byte) (map[string]any, error) {
	var object map[string]any
	if err := json.Unmarshal(bytes.TrimSpace(body), &object); err != nil || object == nil {
		return nil, refuse(http.StatusBadRequest, "the body must be a JSON object")
	}
	return object, nil
}

func (a *api) join(w http.ResponseWriter, r *http.Request, names []string) error {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if err := a.broker.Join(ctx, names[0], names[1]); err != nil {
		return err
	}
	return done(w)
}

func (a *api) leave(w http.ResponseWriter, r *http.Request, names []string) error {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if err := a.broker.Leave(ctx, names[0], names[1]); err != nil {
		return err
	}
	return done(w)
}

func (a *api) disconnect(w http.ResponseWriter, r *http.Request, names []string) error {
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if err := a.broker.Disconnect(ctx, names[0], "asked for over HTTP"); err != nil {
		return err
	}
	return done(w)
}

func done(w http.ResponseWriter) error {
	answer(w, http.StatusOK, struct{}{})
	return nil
}
