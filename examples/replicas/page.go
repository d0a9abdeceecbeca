package main

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed page
var pageFiles embed.FS

// servePage adds the page and what belongs to it.
func servePage(rt *router) {
	files, err := fs.Glob(pageFiles, "page/*")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for _, file := range files {
		path := file[len("page"):]
		if path == "/index.html" {
			path = "/"
		}
		rt.on("GET "+path, func(w http.ResponseWriter, r *http.Request, _ []string) error {
			h := w.Header()
			h.Set("Cache-Control", "no-cache")
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Content-Security-Policy", "default-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
			http.ServeFileFS(w, r, pageFiles, file)
			return nil
		})
	}
}
