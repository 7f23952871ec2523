// The layout of the view of tracks, for Vue; whatever it shows in double braces is escaped.

export const template = /* html */ `
<div class="cp-label" ref="root">
  <aside class="cp-list" aria-label="Videos and doubts">
    <div class="cp-tools"><input class="cp-input" v-model="search" type="search" placeholder="Search videos" aria-label="Search videos"
      @keydown.esc="search = ''; $refs.stage.focus()">
      <button class="cp-button" data-everywhere @click="toggleEverywhere" title="W">{{ everywhere ? "Video by video" : "Worst of all videos" }}</button></div>
    <div class="cp-scroll cp-videos" v-if="everywhere">
      <p class="cp-state">{{ cohortState }}</p>
      <div class="cp-item cp-doubt" role="listitem" v-for="one in shownCohort" :class="{ on: isShown(one) }"
        :data-place="one.video + ' ' + one.frame" @click="goPlace(one)">
        <span class="cp-mark"></span><span class="cp-name">{{ one.video }}, frame {{ one.frame }}</span>
        <span class="cp-number">{{ showProbability(one) }}</span><span class="cp-why">{{ one.why }}</span>
      </div>
    </div>
    <div class="cp-scroll cp-videos" v-else>
      <template v-for="one in shownVideos" :key="one.video">
        <div class="cp-item cp-video" :class="{ on: one.video === video, missing: !one.tracked }" :data-video="one.video" @click="open(one.video)">
          <span class="cp-mark"></span><span class="cp-name">{{ one.video }}</span>
          <span class="cp-why">{{ describeVideo(one) }}</span>
        </div>
        <div v-if="one.video === video" class="cp-doubts" role="list">
          <div class="cp-item cp-doubt" role="listitem" v-for="(doubt, number) in doubts" :class="{ on: number === current }"
            :data-doubt="doubt.frame" :title="doubt.why" @click="goDoubt(number)">
            <span class="cp-mark"></span><span class="cp-name">frame {{ doubt.frame }}</span>
            <span class="cp-number">{{ showProbability(doubt) }}</span><span class="cp-why">{{ doubt.why }}</span>
          </div>
        </div>
      </template>
    </div>
  </aside>

  <main class="cp-stage" ref="stage" tabindex="0" aria-label="Clip" :aria-busy="String(isSaving || isMoving)">
    <div class="cp-host" ref="host"></div>
    <div class="cp-notice trouble" v-if="trouble" role="alert"><span>{{ trouble }}</span>
      <button class="cp-button" @click="trouble = ''">Close</button></div>
    <div class="cp-look" v-if="tracks">
      <span class="cp-shown">frame {{ shown }}</span><template v-if="shown !== here"> · here is {{ here }}</template><template v-if="mark !== null"> · mark at {{ mark }}</template>
    </div>
    <div class="cp-blank" v-if="isEmpty"><p>No video has tracks yet: run <code>snakemake</code> first.</p></div>
    <canvas class="cp-timeline" ref="timeline" role="img" :aria-label="describeTimeline()" @pointerdown="seek"></canvas>
    <footer class="cp-status">
      <span class="cp-where" v-if="tracks">{{ video }} · frame {{ here }}</span>
      <span class="cp-count" v-if="tracks">{{ doubts.length }} in doubt</span>
      <span class="cp-message" role="status">{{ message }}</span>
      <span class="cp-saving" :class="{ open: isSaving }" role="status">{{ saving }}</span>
      <button class="cp-link" @click="dialog = 'help'">? shortcuts</button>
    </footer>
  </main>

  <aside class="cp-side" v-if="tracks">
    <section v-if="doubt"><h2>In doubt</h2><p class="cp-reason">{{ doubt.why }}</p></section>
    <section>
      <h2>Animals</h2>
      <div class="cp-row" v-for="(name, slot) in tracks.individuals" :class="{ on: pair.includes(slot) }" @click="choose(slot)">
        <span class="cp-dot" :style="{ background: colourOf(slot) }"></span><span class="cp-name">{{ name }}</span>
        <span class="cp-state">{{ ["first", "second"][pair.indexOf(slot)] }}</span><kbd v-if="slot < 9">{{ slot + 1 }}</kbd>
      </div>
    </section>
    <section>
      <h2>Decide</h2>
      <div class="cp-row cp-decide" v-for="one in actions" :data-decide="one.what" @click="one.run()">
        <span class="cp-name">{{ one.text }}</span><kbd>{{ one.key }}</kbd>
      </div>
    </section>
    <section>
      <h2>Decisions</h2>
      <p class="cp-state" v-if="!tracks.decisions.length">None yet.</p>
      <div class="cp-row" v-for="one in decisionsShown" :title="one.reason" :data-decision="one.what" @click="goFrame(one.first)">
        <span class="cp-name">{{ one.first }}<template v-if="one.last !== null">–{{ one.last }}</template> {{ one.what }}</span>
        <span class="cp-state">{{ one.outcome === "applied" || one.outcome === "already right" ? one.author : one.outcome }}</span>
      </div>
      <div class="cp-actions"><button class="cp-button" @click="undo" title="U">Undo my last</button>
        <button class="cp-button" @click="redo" title="Shift U" :disabled="!undone.length">Redo</button></div>
    </section>
  </aside>

  <q-dialog :model-value="dialog !== ''" @update:model-value="dialog = ''" @hide="$refs.stage.focus()">
    <div v-if="dialog === 'help'" class="cp-dialog cp-help">
      <h1>Shortcuts</h1>
      <div class="cp-columns">
        <section v-for="group in groups"><h2>{{ group.name }}</h2>
          <div class="cp-shortcut" v-for="one in group.items">
            <span class="cp-keys"><kbd v-for="key in one.keys.slice(0, 2)">{{ showKey(key) }}</kbd></span><span>{{ one.about }}</span>
          </div>
        </section>
      </div>
    </div>
    <form v-else class="cp-dialog" @submit.prevent="goTyped">
      <h1>Go to a frame</h1>
      <label>Frame, counted from 0<input class="cp-input" v-model="typed" inputmode="numeric" autofocus></label>
      <button class="cp-button main">Go</button>
    </form>
  </q-dialog>
</div>
`;
