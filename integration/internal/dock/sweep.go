package dock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/client"
)

// label marks what is ours, with the id of the process that made it.
const label = "io.github.sseplane.integration"

// What compose starts carries the project's name in a label of compose's.
const (
	composeLabel  = "com.docker.compose.project"
	projectPrefix = "sseplane-test-"
)

// imagePrefix begins the names of images that tests make.
const imagePrefix = "sseplane-integration-"

func labels() map[string]string { return map[string]string{label: strconv.Itoa(os.Getpid())} }

// Project returns the name for what this process starts with compose.
func Project() string { return projectPrefix + strconv.Itoa(os.Getpid()) }

// Sweep removes what was left behind by runs that were cut short: containers, networks,
// volumes and images whose labels or names say that they were made by a process that is gone.
func Sweep(ctx context.Context) error {
	e, err := connect()
	if err != nil {
		return err
	}
	return e.sweep(ctx)
}

func (e *Engine) sweep(ctx context.Context) error {
	for _, key := range []string{label, composeLabel} {
		if err := e.sweepLabel(ctx, client.Filters{}.Add("label", key)); err != nil {
			return err
		}
	}
	images, err := e.ImageList(ctx, client.ImageListOptions{Filters: client.Filters{}.Add("reference", imagePrefix+"*")})
	if err != nil {
		return err
	}
	for _, image := range images.Items {
		for _, tag := range image.RepoTags {
			name, _, _ := strings.Cut(tag, ":")
			if pid, ours := strings.CutPrefix(name, imagePrefix); !ours || !gone(pid) {
				continue
			}
			if _, err := e.ImageRemove(ctx, tag, client.ImageRemoveOptions{Force: true}); err != nil {
				return left("image", tag, err)
			}
		}
	}
	return nil
}

func (e *Engine) sweepLabel(ctx context.Context, filter client.Filters) error {
	containers, err := e.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	if err != nil {
		return err
	}
	for _, c := range containers.Items {
		if !orphaned(c.Labels) {
			continue
		}
		if _, err := e.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			return left("container", c.ID, err)
		}
	}
	networks, err := e.NetworkList(ctx, client.NetworkListOptions{Filters: filter})
	if err != nil {
		return err
	}
	for _, n := range networks.Items {
		if !orphaned(n.Labels) {
			continue
		}
		if _, err := e.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); err != nil {
			return left("network", n.Name, err)
		}
	}
	volumes, err := e.VolumeList(ctx, client.VolumeListOptions{Filters: filter})
	if err != nil {
		return err
	}
	for _, v := range volumes.Items {
		if !orphaned(v.Labels) {
			continue
		}
		if _, err := e.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{Force: true}); err != nil {
			return left("volume", v.Name, err)
		}
	}
	return nil
}

// orphaned reports whether labels are ours, of a process that is gone.
func orphaned(labels map[string]string) bool {
	if pid, ours := labels[label]; ours {
		return gone(pid)
	}
	pid, ours := strings.CutPrefix(labels[composeLabel], projectPrefix)
	return ours && gone(pid)
}

// gone reports whether this is the id of a process, and there is none.
func gone(pid string) bool {
	if _, err := strconv.ParseUint(pid, 10, 32); err != nil {
		return false
	}
	_, err := os.Stat("/proc/" + pid)
	return errors.Is(err, os.ErrNotExist)
}

func left(kind, name string, err error) error {
	return fmt.Errorf("removing the %s %s, which an earlier run has left: %w", kind, name, err)
}
