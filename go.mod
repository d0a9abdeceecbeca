module github.com/sseplane/sseplane

go 1.26
