// The layout of the view of labels, for Vue; whatever it shows in double braces is escaped.

export const template = /* html */ `
<div class="cp-label" ref="root">
  <aside class="cp-list" aria-label="Frames">
    <div class="cp-tools">
      <input class="cp-input" ref="search" v-model="search" type="search" placeholder="Search  ( / )" aria-label="Search the list"
        @keydown.esc="search = ''; $refs.stage.focus()" @keydown.enter="$refs.stage.focus(); shown.length && go(shown[0].id)">
      <button class="cp-button" title="Add a frame by its number (G)" @click="openFrameDialog" :disabled="!project">+</button>
    </div>
    <div class="cp-filter" role="group" aria-label="Which frames">
      <button :class="{ on: filter === 'all' }" @click="filter = 'all'">All {{ entries.length }}</button>
      <button :class="{ on: filter === 'open' }" @click="filter = 'open'">To do {{ entries.length - doneCount }}</button>
    </div>
    <q-virtual-scroll ref="list" class="cp-scroll" :items="shown" :virtual-scroll-item-size="46" v-slot="{ item }">
      <div :key="item.id" class="cp-item" :class="{ on: item.id === current, done: isDone(item) }" :data-frame="item.id"
        :title="describeEntry(item)" @click="choose(item.id)">
        <span class="cp-mark" :aria-label="isDone(item) ? 'labelled' : 'to do'"></span>
        <span class="cp-name">{{ item.video }}</span>
        <span class="cp-number">{{ item.frame >= 0 ? item.frame : '' }}</span>
        <span class="cp-why">{{ item.author ? (item.empty ? 'no animal, by ' : 'by ') + item.author : describeReason(item) }}</span>
      </div>
    </q-virtual-scroll>
  </aside>

  <main class="cp-stage" ref="stage" tabindex="0" aria-label="Frame">
    <div class="cp-host" ref="host"></div>
    <div class="cp-notice trouble" v-if="trouble" role="alert"><span>{{ trouble }}</span>
      <button class="cp-button" @click="trouble = ''">Close</button></div>
    <div class="cp-notice" v-if="notice" role="alert"><span>{{ notice.text }}</span>
      <button class="cp-button" v-for="action in notice.actions" @click="action.run()">{{ action.text }}</button>
      <button class="cp-button" @click="notice = null">Close</button></div>
    <div class="cp-look" v-if="look">frame {{ entry.frame + look }} ({{ look > 0 ? '+' : '−' }}{{ Math.abs(look) }}) · Esc returns · M adds it to the list</div>
    <div class="cp-blank" v-if="project && !entries.length">
      <p>There are no frames to label yet.</p>
      <p>Press <kbd>G</kbd> to choose one, or run <code>cohortpose select-frames</code>.</p>
    </div>
    <div class="cp-blank" v-else-if="project && !project.bodyparts.length">
      <p>The project has no bodyparts yet.</p><p>Press <kbd>Shift B</kbd> to add the first one.</p>
    </div>
    <footer class="cp-status">
      <span v-if="entry" class="cp-where">{{ entry.image || entry.video }}<template v-if="!entry.image"> · frame {{ entry.frame }}</template></span>
      <span class="cp-origin">{{ origin }}</span>
      <span class="cp-message" role="status">{{ message }}</span>
      <span class="cp-zoom">{{ Math.round(zoom * 100) }} %</span>
      <span class="cp-saving" :class="{ open: !isSaved }" role="status">{{ saving }}</span>
      <button class="cp-link" @click="dialog = 'help'">? shortcuts</button>
    </footer>
  </main>

  <aside class="cp-side" v-if="project">
    <section v-if="entry && entry.reasons.some((reason) => reason[1])">
      <h2>Why this frame</h2>
      <p class="cp-reason" v-for="reason in entry.reasons.filter((one) => one[1])">{{ reason[1] }}</p>
    </section>
    <section v-if="project.several">
      <h2>Animals</h2>
      <div class="cp-row" v-for="one in animals" :class="{ on: one.number === animal }" @click="chooseAnimal(one.number)">
        <span class="cp-dot" :style="{ background: colourFor(one.number) }"></span>
        <span class="cp-name">{{ one.name }}</span><kbd v-if="one.number < 9">{{ one.number + 1 }}</kbd>
      </div>
      <div class="cp-actions">
        <button class="cp-button" @click="addAnimal" title="A">Add</button>
        <button class="cp-button" @click="removeAnimal" title="Shift X">Remove</button>
        <button class="cp-button" @click="swap" title="S">Swap</button>
      </div>
    </section>
    <section>
      <h2>Bodyparts</h2>
      <div class="cp-row" v-for="(one, number) in parts" :class="['is-' + one.state, { on: number === part }]" @click="selectPart(number)"
        :data-bodypart="one.name" :data-state="one.state">
        <span class="cp-dot" :style="{ borderColor: one.colour, background: one.state === 'visible' ? one.colour : 'transparent' }"></span>
        <span class="cp-name">{{ one.name }}</span>
        <span class="cp-state">{{ { visible: '', hidden: 'hidden', absent: 'not seen', open: '–', suggested: 'unsure' }[one.state] }}</span>
      </div>
      <div class="cp-actions"><button class="cp-button" @click="openBodyparts" title="Shift B">Add or rename</button></div>
    </section>
    <section v-if="others.length">
      <h2>Also corrected by</h2>
      <div class="cp-actions" v-for="one in others">
        <span class="cp-name">{{ one.author }}</span><button class="cp-button" @click="useOther(one)">Use</button>
      </div>
    </section>
    <section>
      <h2>Light</h2>
      <label class="cp-slider">Brightness <q-slider dense :min="0.2" :max="4" :step="0.1" :model-value="brightness" @update:model-value="setBrightness"/></label>
      <label class="cp-slider">Contrast <q-slider dense :min="0.2" :max="4" :step="0.1" :model-value="contrast" @update:model-value="setContrast"/></label>
    </section>
    <section class="cp-switches">
      <label><input type="checkbox" :checked="showSkeleton" @change="toggle('showSkeleton')"> Skeleton <kbd>K</kbd></label>
      <label><input type="checkbox" :checked="showNames" @change="toggle('showNames')"> Names <kbd>T</kbd></label>
    </section>
  </aside>

  <q-dialog transition-duration="80" :model-value="dialog === 'help'" @update:model-value="closeDialog">
    <div class="cp-dialog cp-help">
      <h1>Shortcuts</h1>
      <div class="cp-columns">
        <section v-for="group in groups"><h2>{{ group.name }}</h2>
          <div class="cp-shortcut" v-for="one in group.items">
            <span class="cp-keys"><kbd v-for="key in one.keys.length > 3 ? [one.keys[0] + ' – ' + one.keys.at(-1)] : one.keys.slice(0, 2)">{{ showKey(key) }}</kbd></span>
            <span>{{ one.about }}</span>
          </div>
        </section>
        <section><h2>Mouse</h2>
          <div class="cp-shortcut"><span class="cp-keys"><kbd>Click</kbd></span><span>Place the bodypart that is chosen; with Shift, as hidden</span></div>
          <div class="cp-shortcut"><span class="cp-keys"><kbd>Drag</kbd></span><span>Move a point; beside points, the section shown</span></div>
          <div class="cp-shortcut"><span class="cp-keys"><kbd>Right click</kbd></span><span>Hidden, or visible again</span></div>
          <div class="cp-shortcut"><span class="cp-keys"><kbd>Wheel</kbd></span><span>Zoom</span></div>
        </section>
      </div>
    </div>
  </q-dialog>

  <q-dialog transition-duration="80" :model-value="dialog === 'frame'" @update:model-value="closeDialog">
    <form class="cp-dialog" @submit.prevent="submitFrame">
      <h1>Add a frame</h1>
      <label>Video <select class="cp-input" v-model="dialogVideo"><option v-for="video in project.videos">{{ video }}</option></select></label>
      <label>Frame, counted from 0 <input class="cp-input" v-model="dialogText" autofocus inputmode="numeric"></label>
      <p class="cp-error" role="alert">{{ dialogError }}</p>
      <button class="cp-button main" type="submit">Show it</button>
    </form>
  </q-dialog>

  <q-dialog transition-duration="80" :model-value="dialog === 'bodyparts'" @update:model-value="closeDialog">
    <form class="cp-dialog" @submit.prevent="submitBodypart">
      <h1>Bodyparts of the project</h1>
      <p>Everybody who labels this project sees the change. Labels keep their points.</p>
      <label>What <select class="cp-input" v-model="dialogFormer"><option value="">Add a bodypart</option>
        <option v-for="name in project.bodyparts" :value="name">Rename {{ name }}</option></select></label>
      <label>{{ dialogFormer ? 'New name' : 'Name' }} <input class="cp-input" v-model="dialogText" autofocus maxlength="200"></label>
      <p class="cp-error" role="alert">{{ dialogError }}</p>
      <button class="cp-button main" type="submit">{{ dialogFormer ? 'Rename' : 'Add' }}</button>
    </form>
  </q-dialog>
</div>
`;
