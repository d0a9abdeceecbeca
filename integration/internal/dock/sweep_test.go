package dock

import (
	"context"
	"os"
	"strconv"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// nobody is the id of no process: Linux has none above 2^22.
const nobody = "4194305"

// TestSweep: what a process has left that is gone is removed, what one has that lives, or
// that is not ours, is not.
func TestSweep(t *testing.T) {
	const image = "nginx:1.26"
	e := Require(t, image)
	for name, c := range map[string]struct {
		labels map[string]string
		stays  bool
	}{
		"ours":                     {map[string]string{label: nobody}, false},
		"compose's":                {map[string]string{composeLabel: projectPrefix + nobody}, false},
		"of a process that lives":  {map[string]string{label: strconv.Itoa(os.Getpid())}, true},
		"of a project that lives":  {map[string]string{composeLabel: Project()}, true},
		"of somebody else's":       {map[string]string{composeLabel: "shop-" + nobody}, true},
		"of one with a like name":  {map[string]string{composeLabel: projectPrefix + "x"}, true},
		"of one with no such name": {map[string]string{label: ""}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), engineTime)
			defer cancel()
			network, err := e.NetworkCreate(ctx, "sseplane-sweep-"+nobody, client.NetworkCreateOptions{Labels: c.labels})
			if err != nil {
				t.Fatal(err)
			}
			volume, err := e.VolumeCreate(ctx, client.VolumeCreateOptions{Labels: c.labels})
			if err != nil {
				t.Fatal(err)
			}
			made, err := e.ContainerCreate(ctx, client.ContainerCreateOptions{
				Config: &container.Config{Image: image, Labels: c.labels},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				ctx := context.Background()
				_, _ = e.ContainerRemove(ctx, made.ID, client.ContainerRemoveOptions{Force: true})
				_, _ = e.NetworkRemove(ctx, network.ID, client.NetworkRemoveOptions{})
				_, _ = e.VolumeRemove(ctx, volume.Volume.Name, client.VolumeRemoveOptions{})
			})
			if err := Sweep(ctx); err != nil {
				t.Fatal(err)
			}
			_, noContainer := e.ContainerInspect(ctx, made.ID, client.ContainerInspectOptions{})
			_, noNetwork := e.NetworkInspect(ctx, network.ID, client.NetworkInspectOptions{})
			_, noVolume := e.VolumeInspect(ctx, volume.Volume.Name, client.VolumeInspectOptions{})
			for what, err := range map[string]error{"container": noContainer, "network": noNetwork, "volume": noVolume} {
				if stays := err == nil; stays != c.stays {
					t.Errorf("the %s stays: %t, want %t (%v)", what, stays, c.stays, err)
				}
			}
		})
	}
}

// TestSweepImages: so it is with images.
func TestSweepImages(t *testing.T) {
	const image = "nginx:1.26"
	e := Require(t, image)
	for name, stays := range map[string]bool{
		imagePrefix + nobody + ":latest":                    false,
		imagePrefix + strconv.Itoa(os.Getpid()) + ":latest": true,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), engineTime)
			defer cancel()
			if _, err := e.ImageTag(ctx, client.ImageTagOptions{Source: image, Target: name}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = e.ImageRemove(context.Background(), name, client.ImageRemoveOptions{}) })
			if err := Sweep(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := e.ImageInspect(ctx, name); (err == nil) != stays {
				t.Errorf("it stays: %t, want %t (%v)", err == nil, stays, err)
			}
		})
	}
}
